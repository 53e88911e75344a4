// SPDX-License-Identifier: BSD-3-Clause
/*
 * leasehold top: this machine's daemon, live. Asks its admin socket, has top_view.c make lines of the
 * answers, and puts them on the terminal. Main thread; the terminal is given back however it ends.
 */
#include "admin_socket.h"

#include "cli/top_view.h"

#include <errno.h>
#include <math.h>
#include <ncurses.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASK_MS	     2000 /* for an answer: keys wait for it */
#define RECLAIM_MS   5000
#define TURN_MS	     200 /* to look at signals */
#define MESSAGE_NS   (4 * NS_PER_S)
#define GRANTS_PAGES 16 /* answers of grants that one look asks for */
#define INTERVAL_MIN 0.1
#define INTERVAL_MAX 3600.0
#define ONCE_COLUMNS 80
#define KEY_ESC	     27

enum {
	OPT_SOCKET = OPT_VERB,
	OPT_INTERVAL,
	OPT_ONCE,
};

struct top {
	const char *socket;
	bool once;
	struct top_view view;
	struct top_sample before, now;
	struct top_screen screen;
	struct errtext why; /* the daemon did not answer */
	char message[160];
	uint64_t message_until_ns;
	bool confirming; /* the question is in `message` */
	bool again;	 /* look at once */
	bool quit;
};

/* ---- asking the daemon ----------------------------------------------------------------------- */

static int ask(struct top *t, struct json_object *request, struct json_object **result)
{
	return admin_socket_try(t->socket, request, ASK_MS, result, &t->why);
}

/* Who holds what of the export that is looked into; as much as a few answers have. */
static int ask_grants(struct top *t, struct top_sample *s)
{
	struct json_object *after = NULL;
	int rc = 0;

	s->grants = json_object_new_array();
	for (int page = 0; rc == 0 && page < GRANTS_PAGES && (page == 0 || after); page++) {
		struct json_object *request = admin_socket_command("grants"), *result, *some;

		json_object_object_add(request, "export", json_object_new_string(t->view.selected));
		if (after)
			json_object_object_add(request, "after", after);
		after = NULL;
		rc = ask(t, request, &result);
		if (rc)
			break;
		some = json_object_object_get(result, "grants");
		for (size_t i = 0; json_object_is_type(some, json_type_array) &&
				   i < json_object_array_length(some);
		     i++)
			json_object_array_add(s->grants,
					      json_object_get(json_object_array_get_idx(some, i)));
		after = json_object_get(json_object_object_get(result, "next"));
		(void)json_object_put(result);
	}
	s->more_grants = after != NULL;
	(void)json_object_put(after);
	return rc;
}

/* 0, or an exit code: then there is nothing newer, and `why` says so. */
static int look(struct top *t)
{
	struct top_sample s = {.taken_ns = now_ns()};
	int rc = ask(t, admin_socket_command("status"), &s.status);

	if (rc == 0)
		rc = ask(t, admin_socket_command("stats"), &s.stats);
	/* An export that was removed meanwhile has none. */
	if (rc == 0 && t->view.inside)
		(void)ask_grants(t, &s);
	if (rc) {
		top_sample_free(&s);
		t->view.stale = t->why.text;
		return rc;
	}
	t->view.stale = NULL;
	top_sample_free(&t->before);
	t->before = t->now;
	t->now = s;
	return 0;
}

static void say(struct top *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct top *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(t->message, sizeof(t->message), fmt, ap);
	va_end(ap);
	t->view.message = t->message;
	t->message_until_ns = now_ns() + MESSAGE_NS;
}

static void reclaim(struct top *t)
{
	struct json_object *request = admin_socket_command("reclaim"), *result;
	struct errtext why;

	json_object_object_add(request, "name", json_object_new_string(t->view.selected));
	if (admin_socket_try(t->socket, request, RECLAIM_MS, &result, &why)) {
		say(t, "%.150s", why.text);
		return;
	}
	(void)json_object_put(result);
	say(t, "%s was reclaimed; clients may have it again", t->view.selected);
	t->again = true;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static int page(const struct top *t)
{
	return t->view.rows > 12 ? (int)t->view.rows - 12 : 1;
}

static void go_inside(struct top *t, bool inside)
{
	if (inside == t->view.inside || (inside && !t->view.selected[0]))
		return;
	t->view.inside = inside;
	t->view.first = 0;
	t->again = true;
}

static void on_list_key(struct top *t, int key)
{
	switch (key) {
	case KEY_UP:
		top_move(&t->view, &t->now, -1);
		break;
	case KEY_DOWN:
		top_move(&t->view, &t->now, 1);
		break;
	case KEY_PPAGE:
		top_move(&t->view, &t->now, -page(t));
		break;
	case KEY_NPAGE:
		top_move(&t->view, &t->now, page(t));
		break;
	case KEY_HOME:
		top_move(&t->view, &t->now, -INT32_MAX);
		break;
	case KEY_END:
		top_move(&t->view, &t->now, INT32_MAX);
		break;
	case '\n':
	case '\r':
	case KEY_ENTER:
	case KEY_RIGHT:
		go_inside(t, true);
		break;
	case KEY_ESC:
	case KEY_LEFT:
	case KEY_BACKSPACE:
	case '\b':
	case 127:
		go_inside(t, false);
		break;
	default:
		break;
	}
}

static void on_key(struct top *t, int key)
{
	if (t->confirming) {
		t->confirming = false;
		t->view.message = NULL;
		if (key == 'y' || key == 'Y')
			reclaim(t);
		else
			say(t, "nothing was reclaimed");
		return;
	}
	if (t->view.help) {
		t->view.help = false;
		return;
	}
	switch (key) {
	case 'q':
	case 'Q':
		t->quit = true;
		break;
	case 's':
	case 'S':
		t->view.sort = (enum top_sort)((t->view.sort + 1) % TOP_SORTS);
		say(t, "sorted by %s", top_sort_name(t->view.sort));
		break;
	case 'r':
	case 'R':
		if (!t->view.selected[0])
			break;
		say(t, "Reclaim %s from its clients? They may have it again at once. y/n",
		    t->view.selected);
		t->confirming = true;
		break;
	case '?':
	case 'h':
		t->view.help = true;
		break;
	case ' ':
		t->again = true;
		break;
	default:
		on_list_key(t, key);
	}
}

/* ---- the terminal ---------------------------------------------------------------------------- */

static void draw(struct top *t)
{
	int rows, columns;

	getmaxyx(stdscr, rows, columns);
	t->view.rows = rows > 0 ? (unsigned int)rows : 1;
	t->view.columns =
		(unsigned int)min_u64(columns > 0 ? (uint64_t)columns : 1, TOP_COLUMNS_MAX);
	top_render(&t->view, &t->before, &t->now, &t->screen);
	(void)erase();
	for (size_t i = 0; i < t->screen.count; i++) {
		const struct top_line *l = &t->screen.lines[i];

		(void)attrset(l->reverse ? A_REVERSE : l->bold ? A_BOLD : A_NORMAL);
		(void)mvaddnstr((int)i, 0, l->text, columns);
	}
	(void)attrset(A_NORMAL);
	(void)refresh();
}

static void turn(struct top *t, uint64_t *next_ns)
{
	uint64_t now = now_ns();
	int key;

	if (t->again || now >= *next_ns) {
		t->again = false;
		(void)look(t);
		now = now_ns();
		*next_ns = now + t->view.interval_ns;
	}
	if (t->view.message && !t->confirming && now > t->message_until_ns)
		t->view.message = NULL;
	draw(t);
	timeout((int)min_u64((*next_ns - now) / NS_PER_MS + 1, TURN_MS));
	/* All that was typed, before it is drawn again. */
	while ((key = getch()) != ERR && !t->quit) {
		if (key != KEY_RESIZE)
			on_key(t, key);
		timeout(0);
	}
}

static int run_live(struct top *t)
{
	SCREEN *screen = newterm(NULL, stdout, stdin);
	uint64_t next_ns = 0;

	if (!screen)
		return cli_failf(EXIT_FAILED,
				 "this terminal is not known (TERM=%s): set TERM, or give --once",
				 getenv("TERM") ? getenv("TERM") : "");
	/* Before signals are caught: who is told to end leaves by the end of this function. */
	cli_catch_signals();
	(void)cbreak();
	(void)noecho();
	(void)curs_set(0);
	(void)keypad(stdscr, true);
	(void)set_escdelay(50);
	while (!t->quit && !cli_interrupted)
		turn(t, &next_ns);
	(void)endwin();
	delscreen(screen);
	return EXIT_OK;
}

/* ---- one plain screen ------------------------------------------------------------------------ */

static unsigned int columns_wanted(void)
{
	const char *text = getenv("COLUMNS");
	const unsigned long n = text ? strtoul(text, NULL, 10) : 0;

	return n >= 20 && n <= TOP_COLUMNS_MAX ? (unsigned int)n : ONCE_COLUMNS;
}

/* Two looks: there is no rate in one. */
static int run_once(struct top *t)
{
	int rc = look(t);

	if (rc == 0) {
		(void)poll(NULL, 0, (int)(t->view.interval_ns / NS_PER_MS));
		rc = look(t);
	}
	if (rc)
		return cli_failf(rc, "%s", t->why.text);
	t->view.columns = columns_wanted();
	top_render(&t->view, &t->before, &t->now, &t->screen);
	for (size_t i = 0; i < t->screen.count; i++) {
		char *text = t->screen.lines[i].text;

		for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
			text[n - 1] = '\0';
		(void)puts(text);
	}
	return EXIT_OK;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int take_interval(struct top *t, const char *text)
{
	char *end;
	const double seconds = strtod(text, &end);

	if (end == text || *end || !isfinite(seconds) || seconds < INTERVAL_MIN ||
	    seconds > INTERVAL_MAX)
		return cli_usage(&verb_top, "--interval %s: give seconds, %g to %g", text,
				 INTERVAL_MIN, INTERVAL_MAX);
	t->view.interval_ns = (uint64_t)(seconds * (double)NS_PER_S);
	return -1;
}

static int take_options(struct top *t, int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, OPT_SOCKET},
						{"interval", required_argument, NULL, OPT_INTERVAL},
						{"once", no_argument, NULL, OPT_ONCE},
						{"help", no_argument, NULL, 'h'},
						{0}};
	struct target_options ignored = {0};
	int c, rc = -1;

	while (rc == -1 && (c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case OPT_SOCKET:
			t->socket = optarg;
			break;
		case OPT_INTERVAL:
			rc = take_interval(t, optarg);
			break;
		case OPT_ONCE:
			t->once = true;
			break;
		default:
			rc = cli_option(&verb_top, c, &ignored);
		}
	}
	if (rc == -1 && optind != argc)
		return cli_usage(&verb_top,
				 "top takes no \"%s\": it asks the daemon on this machine",
				 argv[optind]);
	return rc;
}

static int run(int argc, char **argv)
{
	struct top t = {.view = {.interval_ns = 2 * NS_PER_S}};
	int rc = take_options(&t, argc, argv);

	if (rc != -1)
		return rc;
	if (t.once || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		rc = run_once(&t);
	else
		rc = run_live(&t);
	top_sample_free(&t.before);
	top_sample_free(&t.now);
	top_screen_free(&t.screen);
	return rc;
}

const struct verb verb_top = {
	.name = "top",
	.usage = "[OPTIONS]",
	.summary = "watch this machine's daemon: rates, recalls, exports, who holds what",
	.help = "\nA screen that is made anew every two seconds. Keys: q quit, s sort, arrows "
		"select,\n"
		"Enter look into an export, r reclaim it (asks first), ? help. A daemon that is "
		"gone\n"
		"is waited for. Where standard output is no terminal one plain screen is "
		"printed.\n"
		"\n      --interval S       seconds from look to look (default 2)\n"
		"      --once             print one plain screen, after one "
		"interval\n" ADMIN_SOCKET_HELP "  -h, --help             this\n"
		"\nExamples:\n"
		"  leasehold top\n"
		"  leasehold top --once --interval 0.5 | grep ^RECALL\n"
		"\nExit status: 0 done, 1 failed, 2 bad command line, 4 no daemon answers "
		"(--once).\n",
	.run = run,
};
