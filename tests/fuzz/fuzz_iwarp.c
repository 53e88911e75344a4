// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a TCP peer says to the software fabric. First byte even: everything, from the MPA Request on.
 * Odd: units behind a good start-up, with or without a checksum; the fuzzer writes headers, and what
 * it could not guess is filled in. Nothing outside registered memory may change.
 *
 * A unit: one byte "mend", two bytes for the length of the payload (zeros), the header.
 */
#include "fuzz.h"

#include "test_iwarp_rig.h"

#include <stdio.h>
#include <sys/socket.h>

#define MODE_UNITS   0x01
#define MODE_CRC     0x02
#define MODE_OUT     0x04 /* our end connected */
#define MEND_VERSION 0x01
#define MEND_KEY     0x02
#define MEND_ADDRESS 0x04
#define MEND_NUMBER  0x08 /* MSN as expected */
#define MEND_RAW     0x10 /* the payload's bytes are the input's own, and no unit is made of them */
#define MAX_UNITS    64u
#define MAX_PAYLOAD  0x3fffu
#define RECEIVES     8
#define PUMPS	     4

static struct rig rigs[2]; /* without checksums, with */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	(void)setenv("CMOCKA_TEST_ABORT", "1", 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(rigs); i++) {
		struct iwarp_options options = {.crc = i ? IWARP_CRC_ON : IWARP_CRC_AUTO};

		rigs[i].crc = i == 1;
		rig_open(&rigs[i], &options);
	}
	return 0;
}

/* What surrounds the registered half. */
static void check_memory(const struct rig *rig)
{
	for (size_t i = 0; i < RIG_BYTES / 4; i++)
		assert(rig->buf[i] == 0xa5 && rig->buf[RIG_BYTES - 1 - i] == 0xa5);
}

static void finish(struct rig *rig)
{
	struct fabric_cm_event event;

	for (unsigned int i = 0; i < PUMPS; i++)
		rig_pump(rig);
	(void)shutdown(rig->fd, SHUT_WR);
	for (unsigned int i = 0; i < PUMPS; i++) {
		rig_pump(rig);
		while (fabric_cm_poll(rig->cm, &event) == 1) {
			if (event.type != FABRIC_CM_CONNECT_REQUEST)
				continue;
			fabric_conn_destroy(event.conn);
		}
	}
	(void)close(rig->fd);
	rig->fd = -1;
	if (rig->conn)
		fabric_conn_destroy(rig->conn);
	rig->conn = NULL;
	/* One that said too little is known to the listener only: until it sees the end. */
	while (fabric_cm_poll(rig->cm, &event) == 1)
		;
	check_memory(rig);
}

/* A start-up of the fuzzer's own, and what follows. */
static void try_start(struct rig *rig, struct fuzz_input *in)
{
	struct fabric_cm_event event;
	size_t first = in->left < IW_MPA_FRAME_MAX ? in->left : IW_MPA_FRAME_MAX;

	rig->fd = rig_dial(rig);
	rig_say(rig, in->data, first);
	for (unsigned int i = 0; i < PUMPS && !rig->conn; i++) {
		rig_pump(rig);
		if (fabric_cm_poll(rig->cm, &event) == 1 && event.type == FABRIC_CM_CONNECT_REQUEST)
			rig->conn = event.conn;
	}
	if (!rig->conn)
		return;
	rig_qp(rig);
	if (fabric_accept(rig->conn, &rig->param) < 0)
		return;
	rig_receive(rig, RIG_MEM);
	rig_say(rig, in->data + first, in->left - first);
}

static void mend_unit(const struct rig *rig, uint8_t mend, union iw_header *h, uint32_t msn[2])
{
	uint8_t opcode = h->ctrl.rdmap & 0x0f;
	bool tagged, read = opcode == IW_RDMAP_READ_REQUEST;

	if (mend & MEND_VERSION) {
		h->ctrl.rdmap = 0x40 | opcode;
		tagged = opcode == IW_RDMAP_WRITE || opcode == IW_RDMAP_READ_RESPONSE;
		h->ctrl.ddp = (uint8_t)((h->ctrl.ddp & IW_DDP_LAST) | (tagged ? 0x81 : 0x01));
	}
	tagged = (h->ctrl.ddp & IW_DDP_TAGGED) != 0;
	if (mend & MEND_KEY && tagged)
		h->tagged.stag = htobe32(rig->mr->rkey);
	if (mend & MEND_KEY && !tagged && read)
		h->read.source_stag = htobe32(rig->mr->rkey);
	if (mend & MEND_ADDRESS && tagged)
		h->tagged.to = htobe64(rig_at(rig) + be64toh(h->tagged.to) % RIG_MEM);
	if (mend & MEND_ADDRESS && !tagged && read) {
		h->read.source_to = htobe64(rig_at(rig) + be64toh(h->read.source_to) % RIG_MEM);
		h->read.length = htobe32(be32toh(h->read.length) % RIG_MEM);
	}
	if (mend & MEND_NUMBER && !tagged) {
		h->untagged.queue = htobe32(read ? IW_QUEUE_READ_REQUEST : IW_QUEUE_SEND);
		h->untagged.msn = htobe32(msn[read]);
		if (read || h->ctrl.ddp & IW_DDP_LAST)
			msn[read]++;
		if (read)
			h->untagged.mo = 0;
	}
}

static size_t header_bytes(const union iw_header *h)
{
	if (h->ctrl.ddp & IW_DDP_TAGGED)
		return sizeof(h->tagged);
	return (h->ctrl.rdmap & 0x0f) == IW_RDMAP_READ_REQUEST ? sizeof(h->read)
							       : sizeof(h->untagged);
}

static void drop_answers(const struct rig *rig)
{
	uint8_t bytes[4096];

	while (recv(rig->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void try_units(struct rig *rig, struct fuzz_input *in, bool out)
{
	static const uint8_t zeros[MAX_PAYLOAD];
	uint32_t msn[2] = {1, 1};

	if (out)
		rig_connected_out(rig);
	else
		rig_connected(rig);
	for (unsigned int i = 0; i < RECEIVES; i++)
		rig_receive(rig, i % 2 ? 100 : MAX_PAYLOAD);
	for (unsigned int i = 0; i < MAX_UNITS && in->left > 0; i++) {
		uint8_t mend = fuzz_byte(in);
		size_t payload = fuzz_u16(in) & MAX_PAYLOAD;
		union iw_header h;

		if (mend & MEND_RAW) {
			payload = payload < in->left ? payload : in->left;
			rig_say(rig, in->data, payload);
			in->data += payload;
			in->left -= payload;
			continue;
		}
		/* The length is made for it; the rest is the input's. */
		h.ctrl.ulpdu_len = 0;
		fuzz_take(in, h.bytes + 2, 2);
		fuzz_take(in, h.bytes + 4, header_bytes(&h) - 4);
		mend_unit(rig, mend, &h, msn);
		rig_unit(rig, &h, header_bytes(&h), zeros, payload);
		rig_pump(rig);
		drop_answers(rig);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t mode = fuzz_byte(&in);
	struct rig *rig = &rigs[(mode & MODE_CRC) != 0];

	if (mode & MODE_UNITS)
		try_units(rig, &in, (mode & MODE_OUT) != 0);
	else
		try_start(rig, &in);
	finish(rig);
	return 0;
}
