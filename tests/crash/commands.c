// SPDX-License-Identifier: BSD-3-Clause
/*
 * Block commands that libleasehold does not send: Write Zeroes, with and without Deallocate, pairs of Compare
 * and Write, Copy. When the target loses power, or all is done, looks at the medium:
 *
 *	commands FABRIC ADDRESS PORT NQN NSID MEDIUM
 *
 * Each cache line holds what was acknowledged last, or what a command would have put there that was not
 * answered. Prints "lost" or "done". Exit status: 0 every promise was kept, 1 one was not.
 */
#include "raw/raw.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK  512u
#define LINE   64u
#define SIZE   MIB(2)
#define LINES  (SIZE / LINE)
#define DATA   KIB(4) /* of a command */
#define ROUNDS 6u
#define ROUND  KIB(64)
#define LOST   1 /* what raw.c ends with */
#define BAD    3
/* NVMe base 2.0 figure 86. */
#define FUSE_FIRST  0x01
#define FUSE_SECOND 0x02

/* What is in a line: 0, or which bytes. */
struct line {
	uint32_t promised, begun;
};

static struct line *lines; /* both processes' */
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

/* New bytes are about to be written; they are put in `data`. */
static void begin(uint64_t offset, uint64_t length, uint8_t *data)
{
	last_id++;
	for (uint64_t at = 0; at < length; at += LINE) {
		struct line *l = &lines[(offset + at) / LINE];

		l->begun = last_id << 16 | (uint32_t)((offset + at) / LINE);
		fill(data + at, l->begun);
	}
}

static void done(uint64_t offset, uint64_t length, uint16_t status, const char *what)
{
	if (status)
		errx(BAD, "%s: %s", what, nvme_status_text(status));
	for (uint64_t at = offset; at < offset + length; at += LINE)
		lines[at / LINE].promised = lines[at / LINE].begun;
}

static void write_some(uint64_t offset)
{
	begin(offset, DATA, link_data(&io));
	(void)command(0, NVME_IO_WRITE, offset, DATA, DATA);
	done(offset, DATA, command_status(&io, &admin), "Write");
}

static void write_zeroes(uint64_t offset, uint64_t length, uint32_t flags)
{
	for (uint64_t at = offset; at < offset + length; at += LINE)
		lines[at / LINE].begun = 0;
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
		fill(link_data(&io) + at, lines[(offset + at) / LINE].promised);
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

	for (uint64_t at = 0; at < DATA; at += LINE)
		lines[(to + at) / LINE].begun = lines[(from + at) / LINE].promised;
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

static int check(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(BAD, "%s", path);
	for (uint64_t i = 0; i < LINES; i++) {
		uint8_t is[LINE], promised[LINE], begun[LINE];

		fill(promised, lines[i].promised);
		fill(begun, lines[i].begun);
		if (pread(fd, is, LINE, (off_t)(i * LINE)) != LINE)
			err(BAD, "%s", path);
		if (memcmp(is, promised, LINE) == 0 || memcmp(is, begun, LINE) == 0)
			continue;
		errx(1, "byte %llu holds %02x %02x %02x; %02x %02x %02x was acknowledged",
		     (unsigned long long)i * LINE, is[0], is[1], is[2], promised[0], promised[1],
		     promised[2]);
	}
	(void)close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	if (argc != 7)
		errx(2, "usage: commands FABRIC ADDRESS PORT NQN NSID MEDIUM");
	lines = mmap(NULL, LINES * sizeof(*lines), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (lines == MAP_FAILED)
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
	return check(argv[6]);
}
