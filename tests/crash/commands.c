// SPDX-License-Identifier: BSD-3-Clause
/*
 * Block commands that libleasehold does not send: Write Zeroes, with and without Deallocate, pairs of Compare
 * and Write, Copy. When the target loses power, or all is done, looks at the medium:
 *
 *	commands FABRIC ADDRESS PORT NQN NSID MEDIUM [whole]
 *
 * Each cache line holds what was acknowledged last, or what a command would have put there that was not
 * answered. With "whole" it looks when the target is back: each block is all of one or all of the other, and
 * so is each command of one step. Prints "lost" or "done"; then "back", if it has waited for that. Exit status:
 * 0 every promise was kept, 1 one was not.
 */
#include "raw/raw.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK	512u
#define LINE	64u
#define SIZE	MIB(2)
#define LINES	(SIZE / LINE)
#define PAGE	KIB(4)
#define DATA	KIB(4) /* of a command */
#define ROUNDS	6u
#define ROUND	KIB(64)
#define BACK_NS (60 * NS_PER_S)
#define LOST	1 /* what raw.c ends with */
#define BAD	3
/* NVMe base 2.0 figure 86. */
#define FUSE_FIRST  0x01
#define FUSE_SECOND 0x02

/* What is in a line: 0, or which bytes. */
struct line {
	uint32_t promised, begun;
};

struct bytes {
	uint64_t from, to;
};

/* Both processes'. */
struct notes {
	struct line lines[LINES];
	struct bytes step; /* of the last command, if it is to be there as a whole or not at all */
	struct bytes given_back; /* of it, to the file system, which knows no half page of a hole */
};

static struct notes *notes;
static struct link admin, io;
static uint32_t last_id;

static void fill(uint8_t *at, uint32_t what)
{
	for (unsigned int i = 0; i < LINE; i++)
		at[i] = what ? (uint8_t)(1 + (what >> i % 5 * 7 & 0x7f)) : 0;
}

/* ---- commands -------------------------------------------------------------------------------- */

static struct nvme_command *command(unsigned int slot, uint8_t opcode, uint64_t offset,
				    uint64_t length, uint32_t data)
{
	struct nvme_command *cmd = command_in(&io, slot, opcode, data);

	cmd->nsid = htole32(raw.nsid);
	cmd->cdw10 = htole32((uint32_t)(offset / BLOCK));
	cmd->cdw12 = htole32((uint32_t)(length / BLOCK - 1));
	return cmd;
}

static void one_step(uint64_t offset, uint64_t length)
{
	notes->step = (struct bytes){offset, offset + length};
	notes->given_back = (struct bytes){0};
}

static bool within(const struct bytes *b, uint64_t at)
{
	return at >= b->from && at < b->to;
}

/* New bytes are about to be written; they are put in `data`. */
static void begin(uint64_t offset, uint64_t length, uint8_t *data)
{
	last_id++;
	one_step(offset, length);
	for (uint64_t at = 0; at < length; at += LINE) {
		struct line *l = &notes->lines[(offset + at) / LINE];

		l->begun = last_id << 16 | (uint32_t)((offset + at) / LINE);
		fill(data + at, l->begun);
	}
}

static void done(uint64_t offset, uint64_t length, uint16_t status, const char *what)
{
	if (status)
		errx(BAD, "%s: %s", what, nvme_status_text(status));
	for (uint64_t at = offset; at < offset + length; at += LINE)
		notes->lines[at / LINE].promised = notes->lines[at / LINE].begun;
}

static void write_some(uint64_t offset)
{
	begin(offset, DATA, link_data(&io));
	(void)command(0, NVME_IO_WRITE, offset, DATA, DATA);
	done(offset, DATA, command_status(&io, &admin), "Write");
}

static void write_zeroes(uint64_t offset, uint64_t length, uint32_t flags)
{
	/* What is given back to the file system is so page by page. */
	one_step(offset, flags & NVME_WZ_DEAC ? 0 : length);
	if (flags & NVME_WZ_DEAC)
		notes->given_back =
			(struct bytes){align_up(offset, PAGE), align_down(offset + length, PAGE)};
	for (uint64_t at = offset; at < offset + length; at += LINE)
		notes->lines[at / LINE].begun = 0;
	command(0, NVME_IO_WRITE_ZEROES, offset, length, 0)->cdw12 |= htole32(flags);
	done(offset, length, command_status(&io, &admin), "Write Zeroes");
}

static void compare_and_write(uint64_t offset)
{
	const uint64_t end = now_ns() + RAW_STEP_NS;
	const unsigned int answers = io.answers + 2;
	struct nvme_completion cqe;
	struct nvme_command *cmd;

	cmd = command(0, NVME_IO_COMPARE, offset, DATA, DATA);
	cmd->flags |= FUSE_FIRST;
	for (uint64_t at = 0; at < DATA; at += LINE)
		fill(link_data(&io) + at, notes->lines[(offset + at) / LINE].promised);
	cmd = command(1, NVME_IO_WRITE, offset, DATA, DATA);
	cmd->flags |= FUSE_SECOND;
	nvme_keyed_sgl_set(&cmd->sgl, (uint64_t)(uintptr_t)(link_data(&io) + DATA), DATA,
			   io.mr->rkey, NVME_SGL_ADDRESS);
	begin(offset, DATA, link_data(&io) + DATA);
	if (link_send_slot(&io, 0, sizeof(*cmd)) < 0 || link_send_slot(&io, 1, sizeof(*cmd)) < 0)
		errx(LOST, "the queue is gone");
	while (io.answers < answers && !io.dead && now_ns() < end)
		link_turn(&io, &admin);
	if (io.answers < answers)
		errx(LOST, "no answer to a pair");
	memcpy(&cqe, io.in, sizeof(cqe));
	done(offset, DATA, raw_status_of(&cqe), "Compare and Write");
}

static void copy(uint64_t from, uint64_t to)
{
	struct nvme_copy_range range = {.slba = htole64(from / BLOCK),
					.blocks = htole16(DATA / BLOCK - 1)};

	one_step(to, 0);
	for (uint64_t at = 0; at < DATA; at += LINE)
		notes->lines[(to + at) / LINE].begun = notes->lines[(from + at) / LINE].promised;
	memcpy(link_data(&io), &range, sizeof(range));
	/* One range, format 0. */
	command(0, NVME_IO_COPY, to, DATA, sizeof(range))->cdw12 = 0;
	done(to, DATA, command_status(&io, &admin), "Copy");
}

static int run(char **argv)
{
	raw_open(argv);
	admin_open(&admin);
	io.cntlid = admin.cntlid;
	io.host = admin.host;
	queue_open(&io, 1);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		const uint64_t at = i * (uint64_t)(ROUND + BLOCK);

		write_some(at);
		write_some(at + DATA);
		write_zeroes(at + BLOCK, DATA, 0);
		compare_and_write(at + 2 * (uint64_t)BLOCK);
		copy(at + BLOCK, at + 3 * DATA);
		write_some(at + 6 * DATA);
		write_some(at + 7 * DATA);
		write_zeroes(at + 6 * DATA + BLOCK, DATA + 3 * (uint64_t)BLOCK, NVME_WZ_DEAC);
	}
	return 0;
}

/* ---- what is there --------------------------------------------------------------------------- */

enum found {
	FOUND_BOTH, /* nobody can tell */
	FOUND_PROMISED,
	FOUND_BEGUN,
};

/* What byte `at` and those after it are on the medium. */
static enum found look(int fd, uint64_t at, unsigned int bytes)
{
	bool is_promised = true, is_begun = true;
	uint8_t is[LINE] = {0}, promised[LINE] = {0};

	for (uint64_t i = at / LINE; i < (at + bytes) / LINE; i++) {
		uint8_t begun[LINE];

		fill(promised, notes->lines[i].promised);
		fill(begun, notes->lines[i].begun);
		if (pread(fd, is, LINE, (off_t)(i * LINE)) != LINE)
			err(BAD, "the medium");
		is_promised = is_promised && memcmp(is, promised, LINE) == 0;
		is_begun = is_begun && memcmp(is, begun, LINE) == 0;
		if (!is_promised && !is_begun && bytes > LINE)
			errx(1, "the block at byte %llu is torn", (unsigned long long)at);
	}
	if (!is_promised && !is_begun)
		errx(1, "byte %llu holds %02x %02x %02x; %02x %02x %02x was acknowledged",
		     (unsigned long long)at, is[0], is[1], is[2], promised[0], promised[1],
		     promised[2]);
	return is_promised == is_begun ? FOUND_BOTH : is_begun ? FOUND_BEGUN : FOUND_PROMISED;
}

static int check(const char *path, unsigned int unit)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum found all = FOUND_BOTH;

	if (fd < 0)
		err(BAD, "%s", path);
	for (uint64_t at = 0; at < SIZE; at += unit) {
		enum found is = FOUND_BOTH;

		/* The simulated medium has holes line by line. */
		for (uint64_t i = 0; within(&notes->given_back, at) && i < unit; i += LINE)
			(void)look(fd, at + i, LINE);
		if (!within(&notes->given_back, at))
			is = look(fd, at, unit);
		if (unit != BLOCK || is == FOUND_BOTH || !within(&notes->step, at))
			continue;
		if (all != FOUND_BOTH && is != all)
			errx(1, "the command at byte %llu is there in part",
			     (unsigned long long)notes->step.from);
		all = is;
	}
	(void)close(fd);
	return 0;
}

/* ---- the target is back ---------------------------------------------------------------------- */

/* It lets hosts in when it serves. */
static bool connects(char **argv)
{
	int status, null;
	pid_t pid = fork();

	if (pid < 0)
		err(BAD, "fork");
	if (pid == 0) {
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null >= 0)
			(void)dup2(null, STDERR_FILENO);
		raw_open(argv);
		admin_open(&admin);
		exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static void await(char **argv)
{
	const struct timespec pause = {.tv_nsec = 20 * NS_PER_MS};
	const uint64_t end = now_ns() + BACK_NS;

	while (!connects(argv)) {
		if (now_ns() > end)
			errx(BAD, "the target does not come back");
		(void)nanosleep(&pause, NULL);
	}
}

int main(int argc, char **argv)
{
	const bool whole = argc == 8 && strcmp(argv[7], "whole") == 0;
	int status;
	pid_t pid;

	if (argc != 7 && !whole)
		errx(2, "usage: commands FABRIC ADDRESS PORT NQN NSID MEDIUM [whole]");
	notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (notes == MAP_FAILED)
		err(BAD, "memory");
	pid = fork();
	if (pid < 0)
		err(BAD, "fork");
	if (pid == 0)
		exit(run(argv + 1));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != LOST))
		errx(BAD, "the commands went wrong");
	puts(WEXITSTATUS(status) == LOST ? "lost" : "done");
	(void)fflush(stdout);
	if (whole) {
		await(argv + 1);
		puts("back");
		(void)fflush(stdout);
	}
	return check(argv[6], whole ? BLOCK : LINE);
}
