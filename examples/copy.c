// SPDX-License-Identifier: BSD-3-Clause
/*
 * Copies an export to a local file, four pieces at a time:
 *
 *	copy iwarp://192.0.2.7/data FILE
 *
 *	cc copy.c $(pkg-config --cflags --libs leasehold) -o copy
 */
#include <leasehold.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE  (1u << 20)
#define PIECES 4

struct piece {
	struct lh_op *op;
	unsigned char *memory;
	uint64_t offset, length;
};

static void begin(struct lh_export *ex, struct piece *p, uint64_t offset, uint64_t end)
{
	struct lh_error why;

	p->offset = offset;
	p->length = end - offset < PIECE ? end - offset : PIECE;
	if (lh_submit(ex, &(struct lh_io){.offset = offset, .length = p->length, .buf = p->memory},
		      &p->op, &why))
		errx(1, "%s", why.text);
}

static void finish(struct piece *p, int fd)
{
	struct lh_error why;

	if (lh_wait(p->op, -1, &why))
		errx(1, "%s", why.text);
	if (pwrite(fd, p->memory, p->length, (off_t)p->offset) != (ssize_t)p->length)
		err(1, "the local file");
}

int main(int argc, char **argv)
{
	struct piece pieces[PIECES] = {0};
	struct lh_export_info info;
	struct lh_client *client;
	struct lh_export *ex;
	struct lh_error why;
	uint64_t at = 0, done = 0;
	int fd, rc;

	if (argc != 3)
		errx(2, "usage: copy TARGET/EXPORT FILE");
	if (lh_open(argv[1], NULL, &client, &ex, &why))
		errx(1, "%s", why.text);
	if (lh_export_info(ex, false, &info, &why))
		errx(1, "%s", why.text);
	fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0)
		err(1, "%s", argv[2]);

	/* By grants. Where there is no direct access block commands do it. */
	rc = lh_hold(ex, 0, LH_ALL, LH_READ, 0, NULL, &why);
	if (rc && rc != -EOPNOTSUPP && rc != -ENODATA)
		errx(1, "%s", why.text);

	for (unsigned int i = 0; i < PIECES; i++) {
		pieces[i].memory = lh_alloc(client, PIECE);
		if (!pieces[i].memory)
			err(1, "memory");
	}
	for (unsigned int i = 0; done < info.size_bytes; i = (i + 1) % PIECES) {
		struct piece *p = &pieces[i];

		if (p->op) {
			finish(p, fd);
			p->op = NULL;
			done += p->length;
		}
		if (at < info.size_bytes) {
			begin(ex, p, at, info.size_bytes);
			at += p->length;
		}
	}
	for (unsigned int i = 0; i < PIECES; i++)
		lh_free(client, pieces[i].memory);
	(void)lh_export_close(ex);
	lh_client_close(client);
	if (close(fd))
		err(1, "%s", argv[2]);
	return 0;
}
