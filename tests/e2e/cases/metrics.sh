#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2154,SC2034 # variables of lib.sh
# what Prometheus asks for: OpenMetrics that parses, numbers that move; off unless asked for; bad requests
# needs: host
# why: nothing in it depends on the adapter or on the file system
use d
make_file "$files/data" 4
add_export 'data' "$files/data"
make_file "$files/quiet" 1
add_export quiet "$files/quiet" 'registration = "staged";'
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
stats '|keys[]' | grep -vE '^(rungs$|rungs_|registrations$|registered_bytes$|exports$|hosts$)' | sort >"$tmp/counted"
sed -n 's/^leasehold_\(.*\)_total .*/\1/p' "$tmp/text" | sort >"$tmp/exposed"
diff "$tmp/counted" "$tmp/exposed" >"$tmp/diff" || fail "stats and metrics differ: $(head -3 "$tmp/diff" | tr '\n' ' ')"

# value_of NAME [LABELS]: of data.
value_of() { value "leasehold_export_$1{export=\"${2:-data}\"}"; }
counted() { stats ".exports[] | select(.name == \"data\") | .$1"; }
expect "size" "$(value_of size_bytes)" $((4 << 20))
expect "registered" "$(value 'leasehold_registered_bytes{device="iwarp"}')" $((4 << 20))
expect "serving" "$(value_of serving)" 1
expect "recalls" "$(value leasehold_recall_wait_seconds_count)" 0

# What block commands do, of the export that they do it to: to the byte, and each once.
head -c 1M /dev/urandom >"$tmp/bytes"
lh_ok write --block "$(target data)" 65536 <"$tmp/bytes"
lh_ok read --block "$(target data)" 4096 12288
expect "bytes written" "$(value_of block_written_bytes_total)" $((1 << 20))
expect "bytes read" "$(value_of block_read_bytes_total)" 12288
expect "reads" "$(value_of block_reads_total)" "$(value leasehold_nvme_reads_total)"
expect "writes" "$(value_of block_writes_total)" "$(value leasehold_nvme_writes_total)"
[ "$(value_of block_writes_total)" -gt 0 ] || fail "no write was counted"
expect "errors" "$(value_of block_errors_total)" 0
# And what direct ones do, as far as anybody here sees it.
expect "commits so far" "$(value_of commits_total)" 0
lh_ok write --no-fallback "$(target data)" 2M <"$tmp/bytes"
expect "commits" "$(value_of commits_total)" "$(value leasehold_nvme_commits_total)"
expect "bytes in these" "$(value_of committed_bytes_total)" $((1 << 20))
expect "grants given" "$(value_of grants_given_total)" "$(value leasehold_grants_total)"
[ "$(value_of bytes_given_total)" -ge $((1 << 20)) ] || fail "$(value_of bytes_given_total) bytes were given"
expect "bytes written by block commands" "$(value_of block_written_bytes_total)" $((1 << 20))
for name in block_reads block_writes block_read_bytes block_written_bytes commits committed_bytes grants_given recalls; do
	expect "$name as stats has it" "$(counted $name)" "$(value_of ${name}_total)"
	expect "$name of the other one" "$(value_of ${name}_total quiet)" 0
done

client reader hold "$(target data)"
wait_for 10 "a grant" said reader '\bgranted\b'
expect "grants" "$(value_of grants)" 1
expect "bytes in it" "$(value_of granted_bytes)" $((4 << 20))
expect "controllers" "$(value leasehold_controllers)" 1
host=$(status '.clients[0].hostnqn')
expect "grants of its host" "$(value "leasehold_host_grants{host=\"$host\"}")" 1
expect "bytes in it" "$(value "leasehold_host_granted_bytes{host=\"$host\"}")" $((4 << 20))
expect "controllers of its host" "$(value "leasehold_host_controllers{host=\"$host\"}")" 1
expect "direct queues of its host" "$(value "leasehold_host_direct_queues{host=\"$host\"}")" 1
expect "the same in stats" "$(stats '.hosts[] | "\(.hostnqn) \(.controllers) \(.grants) \(.granted_bytes)"')" "$host 1 1 $((4 << 20))"
expect "time away" "$(counted away_ms)" 0
metrics >"$tmp/text"

# The dashboard and the alerts ask for nothing that is not there.
grep -oE '^leasehold_[a-z0-9_]+' "$tmp/text" | sort -u >"$tmp/names"
for asking in grafana/leasehold.json prometheus/leasehold.rules.yml; do
	grep -oE '\bleasehold_[a-z0-9_]+' "$lib/../../config/$asking" | sort -u >"$tmp/asked"
	[ "$(wc -l <"$tmp/asked")" -gt 12 ] || fail "$asking asks for next to nothing"
	missing=$(comm -23 "$tmp/asked" "$tmp/names")
	[ -z "$missing" ] || fail "$asking asks for what is not there: $(tr '\n' ' ' <<<"$missing")"
done

head -c 1 "$files/data" >/dev/null
wait_for 10 "granted again" said reader '\bregranted\b'
expect "recalls" "$(value leasehold_recalls_total)" 1
for phase in wait answer keys return; do
	expect "recalls with their $phase" "$(value leasehold_recall_${phase}_seconds_count)" 1
	expect "the last bucket of $phase" "$(value "leasehold_recall_${phase}_seconds_bucket{le=\"+Inf\"}")" 1
done
expect "recalls of the export" "$(value_of recalls_total)" 1
expect "its landlords" "$(value_of recall_wait_seconds_count)" 1
expect "clients fenced" "$(value_of clients_fenced_total)" 0
away=$(value_of away_seconds_total)
awk -v away="$away" 'BEGIN { exit !(away > 0) }' || fail "it was away for $away s"
expect "time away while it is served" "$(value_of away_seconds_total)" "$away"
expect "recalls of the other one" "$(value_of recalls_total quiet)" 0
# One that does not answer, and a landlord who waits for the deadline.
suspend "${c_pid[reader]}"
head -c 1 "$files/data" >/dev/null
wait_for 10 "it to be served again" eval '[ "$(value_of serving)" = 1 ]'
expect "clients fenced" "$(value_of clients_fenced_total)" 1
expect "landlords who waited for less than the deadline" "$(value 'leasehold_export_recall_wait_seconds_bucket{export="data",le="0.5"}')" 1
expect "all of them" "$(value_of recall_wait_seconds_count)" 2
awk -v away="$(value_of away_seconds_total)" -v before="$away" 'BEGIN { exit !(away - before >= 1) }' ||
	fail "it was away for $(value_of away_seconds_total) s, and for $away before"
kill -CONT "${c_pid[reader]}"
client_end reader INT
wait_for 10 "the host to go" eval '[ -z "$(value "leasehold_host_grants{host=\"$host\"}")" ]'

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
