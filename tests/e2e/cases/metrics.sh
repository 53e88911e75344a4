#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# what Prometheus asks for: OpenMetrics that parses, numbers that move; off unless asked for; bad requests
# needs: host
# why: nothing in it depends on the adapter or on the file system
use d
make_file "$files/data" 4
add_export 'data' "$files/data"
metrics_port=$(helper free-port 127.0.0.1)
set_option "metrics_port = $metrics_port;"
daemon_start
expect_text "the log" "$(log)" "metrics at http://127.0.0.1:$metrics_port/metrics"

# http REQUEST-LINE [BODY]: the whole answer.
http() { printf '%s\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' "$1" "${#2}" "${2-}" | nc -w 5 127.0.0.1 "$metrics_port" | tr -d '\r'; }
metrics() { http 'GET /metrics HTTP/1.1' '' | sed '1,/^$/d'; }
value() { metrics | awk -v name="$1" '$1 == name { print $2 }'; }

http 'GET /metrics HTTP/1.1' '' >"$tmp/answer"
expect_text "the head" "$(sed '/^$/q' "$tmp/answer")" '^HTTP/1.1 200 OK$'
expect_text "the head" "$(sed '/^$/q' "$tmp/answer")" '^Content-Type: application/openmetrics-text; version=1\.0\.0; charset=utf-8$'
sed '1,/^$/d' "$tmp/answer" >"$tmp/text"
expect "its end" "$(tail -1 "$tmp/text")" '# EOF'
# The format: families in one piece each, each with a type; samples that belong to it.
awk '
	function bad(why) { print NR ": " why ": " $0; exit 1 }
	/^# TYPE / { if (seen[$3]++) bad("a family again"); family = $3; type = $4; next }
	/^# HELP / { if ($3 != family) bad("help of another family"); next }
	/^# EOF$/ { ended = 1; next }
	/^leasehold_[a-z0-9_]+(\{[a-z]+="([^"\\]|\\.)*"(,[a-z]+="([^"\\]|\\.)*")*\})? -?[0-9.e+-]+$/ {
		name = $1; sub(/\{.*/, "", name)
		suffix = substr(name, length(family) + 1)
		if (substr(name, 1, length(family)) != family) bad("of another family")
		if (type == "counter" && suffix != "_total") bad("a counter without _total")
		if (type == "gauge" && suffix != "") bad("a gauge with a suffix")
		if (type == "info" && suffix != "_info") bad("an info without _info")
		if (type == "histogram" && suffix !~ /^_(bucket|sum|count)$/) bad("no part of a histogram")
		next
	}
	{ bad("no line of OpenMetrics") }
	END { if (!ended) print "it does not end" }
' "$tmp/text" >"$tmp/bad"
[ ! -s "$tmp/bad" ] || fail "line $(head -1 "$tmp/bad")"
# Whatever `leasehold stats` counts is there.
stats '|keys[]' | grep -vE '^(rungs$|rungs_|registrations$|registered_bytes$)' | sort >"$tmp/counted"
sed -n 's/^leasehold_\(.*\)_total .*/\1/p' "$tmp/text" | sort >"$tmp/exposed"
diff "$tmp/counted" "$tmp/exposed" >"$tmp/diff" || fail "stats and metrics differ: $(head -3 "$tmp/diff" | tr '\n' ' ')"

# The dashboard asks for nothing else.
dashboard=$lib/../../config/grafana/leasehold.json
jq -r '.. | .expr? // .query? | strings' "$dashboard" | grep -oE 'leasehold_[a-z0-9_]+' | sort -u >"$tmp/asked"
[ "$(wc -l <"$tmp/asked")" -gt 20 ] || fail "the dashboard asks for next to nothing"
grep -oE '^leasehold_[a-z0-9_]+' "$tmp/text" | sort -u >"$tmp/names"
missing=$(comm -23 "$tmp/asked" "$tmp/names")
[ -z "$missing" ] || fail "the dashboard asks for what is not there: $(tr '\n' ' ' <<<"$missing")"

expect "size" "$(value 'leasehold_export_size_bytes{export="data"}')" $((4 << 20))
expect "registered" "$(value 'leasehold_registered_bytes{device="iwarp"}')" $((4 << 20))
expect "serving" "$(value 'leasehold_export_serving{export="data"}')" 1
expect "recalls" "$(value leasehold_recall_wait_seconds_count)" 0
client reader hold "$(target data)"
wait_for 10 "a grant" said reader '\bgranted\b'
expect "grants" "$(value 'leasehold_export_grants{export="data"}')" 1
expect "controllers" "$(value leasehold_controllers)" 1
head -c 1 "$files/data" >/dev/null
wait_for 10 "granted again" said reader '\bregranted\b'
expect "recalls" "$(value leasehold_recalls_total)" 1
for phase in wait answer keys return; do
	expect "recalls with their $phase" "$(value leasehold_recall_${phase}_seconds_count)" 1
	expect "the last bucket of $phase" "$(value "leasehold_recall_${phase}_seconds_bucket{le=\"+Inf\"}")" 1
done
client_end reader INT

# What it does not answer.
expect_text "another place" "$(http 'GET / HTTP/1.1' '')" '^HTTP/1.1 404 '
expect_text "another method" "$(http 'DELETE /metrics HTTP/1.1' '')" '^HTTP/1.1 405 '
http 'POST /metrics HTTP/1.1' 'something' >/dev/null
printf 'nonsense\r\n\r\n' | nc -w 5 127.0.0.1 "$metrics_port" >/dev/null || true
head -c 100000 /dev/zero | tr '\0' 'x' | nc -w 5 127.0.0.1 "$metrics_port" >/dev/null 2>&1 || true
[ -n "$(value leasehold_controllers)" ] || fail "after bad requests there are no metrics"
# Nobody is in the way who says nothing.
helper_start silent half-open 127.0.0.1 "$metrics_port" 20 3
wait_for 20 "metrics beside who says nothing" eval '[ -n "$(value leasehold_controllers)" ]'
client_end silent

# Not where another one is.
use other
make_file "$files/other" 4
add_export other "$files/other"
set_option "metrics_port = $metrics_port;"
daemon_refuses "metrics at 127\.0\.0\.1 port $metrics_port: Address already in use"
use wrong
add_export other "$files/other"
set_option 'metrics_port = 9464; metrics_address = "here";'
daemon_refuses '/wrong/conf:[0-9]+: metrics_address: "here" is no IPv4 or IPv6 address'
use d
daemon_stop
