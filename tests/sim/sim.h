/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulator: the whole target, its hosts, its file system and its fabric in one thread, in
 * virtual time. Every order and every delay is drawn from the seed, so a seed is a run.
 *
 *   sched.c    chance, the clock, events, coroutines; who runs next
 *   threads.c  util/loop.h and util/pool.h, without threads
 *   file.c     target/export: a file of blocks; who owns each block is known at any time
 *   tenure.c   what the target holds of it, at the door of target/tenure
 *   lease.c    the lease, and who waits for it to go
 *   watch.c    pre-content events, and who asks
 *   closes.c   inotify, and when to try again
 *   oracle.c   what a reader may see: every write there was, and what has superseded it
 *   fabric.c   memory, keys, completion queues
 *   wire.c     work requests and packets; connections
 *   host.c     an NVMe host: its queues, its commands
 *   block.c    hosts of the block path, good and bad
 *   direct.c   clients of the direct path, good and bad
 *   landlord.c truncates, punches, clones, moves blocks
 *   world.c    one seed from the first to the last event
 */
#ifndef LEASEHOLD_SIM_H
#define LEASEHOLD_SIM_H

#include "fabric/fabric.h"
#include "util/list.h"
#include "util/loop.h"
#include "util/util.h"

#define PAGE_BYTES     4096u
#define CELL_BYTES     512u
#define LINE_BYTES     64u /* of a cache */
#define PAGE_CELLS     (PAGE_BYTES / CELL_BYTES)
#define FILE_MAX_PAGES 64u
#define SIM_NSID       1u
#define SIM_NQN	       "nqn.2026-11.org.leasehold:sim"
#define SIM_PORT       4420
#define NEVER	       UINT64_MAX
#define SLACK_NS       (400 * NS_PER_MS) /* beyond the deadline: keys to kill, threads that lull */

/* Which promise was broken (docs/testing.md, "The simulator"). */
enum promise {
	P_REGISTERED = 1, /* no memory registered without a tenure */
	P_RELEASED = 2,	  /* tenure released with a key alive or work in flight */
	P_REACHED = 3,	  /* something remote reached blocks that are not the file's any more */
	P_LATE = 4,	  /* a recall did not end in time */
	P_LOST = 5, /* an acknowledged write is not there, or a byte is there that nobody wrote */
	P_FOREIGN = 6, /* a key that is not what its client asked for */
	P_HOST = 7,    /* a host that does everything right got an error, or waited too long */
	P_UNDONE = 8,  /* remote I/O undid what the landlord did */
	P_STUCK = 9,   /* it does not come to rest, or something is left over */
	P_ROOM = 10,   /* the target asked a room below for what it may not */
	P_POWER = 11,  /* were power to fail now, what is being acknowledged would not be there */
	P_BUDGET = 12, /* more is registered for block commands than may be */
};

/* What one seed is like; drawn at its start. */
struct sim_options {
	uint64_t seed;
	bool verbose;
};

struct world {
	/* Drawn. */
	uint32_t deadline_ms;
	uint32_t lba_bytes;
	unsigned int pages; /* of the file at the start */
	bool pinned;	    /* else on-demand paging */
	bool random_iova;
	bool dax;
	bool prepare_allocate;
	bool unshares; /* what clones share, when it is acquired */
	bool advisory;
	uint32_t expiry_ms; /* of grants; 0: they do not */
	bool faults;	    /* calls fail, connections break */
	bool rungs;	    /* somebody changes how the file is reached */
	bool reclaims;	    /* somebody wants parts of it back for a while */
	bool early;	    /* the landlord is there before the target */
	bool watch;	    /* local programs ask before each thing they do; else a lease */
	bool refuse;	    /* … and get EBUSY while there are grants */
	bool keeps_keys;    /* the adapter does not give keys back for a while, now and then */
	uint32_t max_registrations;    /* for block commands; 0: as many as it takes, … */
	uint64_t max_registered_bytes; /* … and the same of bytes */
	bool windows;		       /* of grants */
	bool early_done; /* a send is done when it is sent, else when it is acknowledged */
	unsigned int mtu;
	uint64_t wire_ns; /* a packet takes up to that long, sometimes much more */
	uint64_t lull_ns; /* a thread that is not run for that long at most */
	uint64_t
		work_ns; /* that a work of a pool takes for each thing it does, at most; 0: none … */
	uint64_t registration_ns; /* … of the registrar's */
	uint64_t landlord_ns;	  /* between two of the landlord's operations, at most */
	uint64_t end_ns;	  /* then everybody goes home */
	bool served;		  /* once */
	bool ending;
	bool resized;		 /* the file ever got another size */
	unsigned int slow_hosts; /* hosts of this seed that do not answer in time */
	uint64_t base_ns;	 /* of the clock, so that 0 is no time */
};
extern struct world w;

/* ---- sched.c ---- */

extern struct sim_options sim;
extern uint64_t sim_now;

uint64_t sim_random(void);
/** 0 … n - 1. */
uint64_t sim_below(uint64_t n);
static inline uint64_t sim_between(uint64_t low, uint64_t high)
{
	return low + sim_below(high - low + 1);
}
static inline bool sim_chance(unsigned int in_thousand)
{
	return sim_below(1000) < in_thousand;
}
/** Mostly short, sometimes up to `most`. */
uint64_t sim_delay(uint64_t most);

void sim_log(const char *fmt, ...) PRINTF_LIKE(1, 2);
_Noreturn void sim_fail(enum promise promise, const char *fmt, ...) PRINTF_LIKE(2, 3);

/** fn(arg) in `ns` from now. */
void sim_after(uint64_t ns, void (*fn)(void *arg), void *arg);

void sched_begin(uint64_t seed);
/** One step; false: nothing will ever happen any more, or not before `until_ns`. */
bool sched_step(uint64_t until_ns);
void sched_end(void);
unsigned long sched_steps(void);

/* Coroutines: a host's or the landlord's life, written as if it had a thread of its own. */
struct co;
struct co *co_new(const char *name, void (*fn)(void *arg), void *arg);
/** Begins at once, outside of any other; nobody waits for its end. */
void co_run(const char *name, void (*fn)(void *arg), void *arg);
/** The one that runs, or NULL. */
struct co *co_self(void);
void co_sleep(uint64_t ns);
/** Until co_wake(), at most `ns`; false: nobody woke it. */
bool co_wait(uint64_t ns);
void co_wake(struct co *co);
unsigned int co_alive(void);

/* ---- threads.c ---- */

/** A descriptor of the simulated fabric, and that there is something to read. */
int sim_fd_new(void);
void sim_fd_kick(int fd);
/** How many loops have something to do; if none, when the next of them has, or NEVER. */
unsigned int threads_ready(uint64_t *next_ns);
/** Runs one thing of a random one of the `ready` loops that have something to do. */
void threads_step(unsigned int ready);
/** Runs fn on the loop's thread, now. */
void sim_on_loop(struct loop *loop, void (*fn)(void *arg), void *arg);
/**
 * At the beginning and the end of whatever takes its time below the target, and wherever it may be
 * interrupted: on a thread of a pool others go on meanwhile. Elsewhere nothing happens.
 */
void sim_pause(void);
void threads_begin(void);
void threads_end(void);

/* ---- oracle.c ---- */

struct write_op;

void oracle_begin(void);
void oracle_end(void);
/** Somebody begins to write `value` to cells [cell, cell + n). */
struct write_op *oracle_issue(unsigned int cell, unsigned int n, uint64_t value);
/** It was acknowledged: what was over before it began is not to be seen any more. */
void oracle_ack(struct write_op *op);
/** It can have no effect any more from now on; it may have had, or not. */
void oracle_over(struct write_op *op);
/** Whose end is to be learned otherwise: by the death of a key, or of a connection. */
void oracle_by_key(struct write_op *op, uint32_t key);
void oracle_by_conn(struct write_op *op, uint64_t conn);
void oracle_key_dead(uint32_t key);
void oracle_conn_dead(uint64_t conn);
/** The landlord's own: at once. */
void oracle_set(unsigned int cell, unsigned int n, uint64_t value);
/** Bytes that were read, by somebody who asked at `issued`. */
void oracle_check(unsigned int cell, unsigned int n, const void *bytes, uint64_t issued,
		  const char *who);
/** The target is about to acknowledge `op`, and power fails: is it there, or what may be there since? */
void oracle_survives(const struct write_op *op, const char *who);
/** Bytes of the medium, as a reader after a power failure at this moment would find them. */
void oracle_check_medium(unsigned int cell, const void *bytes);
/** Fills cells with a value, and a fresh value. */
void oracle_fill(void *bytes, unsigned int n, uint64_t value);
uint64_t oracle_value(void);

/* ---- file.c: the file and its blocks ---- */

void file_begin(void);
void file_end(void);
uint64_t file_size(void);
/** True if the address lies where views are mapped. */
bool file_address(const void *addr);
/** A key over file memory comes to be; fills in what the adapter remembers of it. */
void file_register(const void *addr, uint64_t length, bool remote, uint32_t **blocks);
/** An adapter reads or writes file memory by a key. -EFAULT: on demand, and it is not there. */
int file_dma(const void *addr, const uint32_t *blocks, uint64_t key_offset, void *bytes,
	     uint32_t length, bool write, const char *who);
/** Whether the range of addresses [addr, addr + length) overlaps the file's bytes [from, to). */
bool file_overlaps(const void *addr, uint64_t length, uint64_t from, uint64_t to);
uint64_t file_offset(const void *addr);
/** Everything against what may be seen. */
void file_check(uint64_t issued);
/** What of the cell is on the medium itself. False: the file has no such cell, or is in no medium. */
bool file_medium(unsigned int cell, void *bytes);
/** As io_uring would: bytes read, at most to the end of the file. */
int file_pread(void *buf, uint32_t length, uint64_t offset);

/* What the landlord can do; the caller has broken the lease, or was let go on there. */
void file_truncate(uint64_t bytes);
void file_punch(unsigned int page, unsigned int n);
void file_write(unsigned int cell, unsigned int n);
void file_look(unsigned int page, unsigned int n);
void file_clone(unsigned int page, unsigned int n);
void file_move(unsigned int page, unsigned int n);
/* The same by one who was given only these pages, or all from there on. */
void file_truncate_part(uint64_t bytes);
void file_punch_part(unsigned int page, unsigned int n);
void file_move_part(unsigned int page, unsigned int n);

/* ---- export.c: the door of target/export ---- */

void export_begin(void);
void export_end(void);

/* ---- tenure.c ---- */

void tenures_begin(void);
void tenures_end(void);
/** Of any of the file. */
bool tenure_held(void);
/** The file is held, and no part of the range let go. */
bool tenure_over(uint64_t from, uint64_t to);
/** It is not, or the range lies in one part that was let go. */
bool tenure_let_go(uint64_t from, uint64_t to);
/** When what was let go may be taken back, whoever is at it still. */
uint64_t tenure_forced_ns(uint64_t from, uint64_t to);

/* ---- lease.c ---- */

void lease_begin(void);
void lease_end(void);
/** A landlord's open(2): waits for the lease to go; false: O_NONBLOCK, and it did not. */
bool landlord_open(bool nonblock);
void landlord_close(void);
/** A change without an open: truncate(2). */
void landlord_enter(void);
void landlord_leave(void);

/* ---- watch.c ---- */

/** What is done with the file, as soon as that may be; maybe not by the coroutine that asked. */
struct watched_op {
	void (*run)(const struct watched_op *op);
	bool blind; /* by a descriptor that is older than the mark: nobody is asked */
};
void watch_begin_world(void);
void watch_end_world(void);
/** Asks for the range, to NEVER: to the end, and does it. -EBUSY, -EINTR: nothing was done. */
int watch_ask(const struct watched_op *op, uint64_t from, uint64_t to);
/** The same for an open(2), which is the caller's; `*blind`: nothing was marked yet. */
int watch_ask_open(bool *blind);

/* ---- closes.c ---- */

void closes_begin(void);
void closes_end(void);
/** After each open and change; after each close. */
void notice_change(void);
void notice_close(void);

/* ---- fabric.c, wire.c ---- */

struct fabric *sim_fabric_new(void);
/** How many objects there are. */
unsigned int sim_fabric_objects(void);
/** No key alive over the file's bytes [from, to), and no work of ours in flight; else it fails. */
void fabric_check_no_key(enum promise promise, uint64_t from, uint64_t to, const char *what);
struct client;
/** Whether a client has a key over bytes of [from, to); by this queue of it, or NULL: at all. */
bool fabric_granted(const struct fabric_conn *conn, uint64_t from, uint64_t to);
/** `who` has changed [from, to) since: nobody else has had a key for writing there all the time. */
void fabric_check_exclusive(const struct client *who, uint64_t since, uint64_t from, uint64_t to);
/** A key over the file that is not the client's own. For liars. */
bool fabric_guess_key(const struct client *who, uint32_t *rkey, uint64_t *address);

/* Of the host's end of a connection: whose it is, and how its adapter is. */
void sim_conn_owner(struct fabric_conn *conn, struct client *client);
void sim_conn_freeze(struct fabric_conn *conn, bool frozen);
void sim_conn_slow(struct fabric_conn *conn, uint64_t read_ns);
/** fn(user) for each message of the target's, at the moment it is posted: it may arrive from then on. */
void sim_conn_on_post(struct fabric_conn *conn,
		      void (*fn)(void *user, const void *bytes, uint32_t length), void *user);
/** The same for both ends. */
uint64_t sim_conn_id(const struct fabric_conn *conn);
/** Who is woken when something comes. */
void sim_cq_owner(struct fabric_cq *cq, struct co *co);
void sim_cm_owner(struct fabric_cm *cm, struct co *co);

/* ---- hosts ---- */

enum client_kind {
	CLIENT_GOOD,
	CLIENT_SLOW,	     /* answers, late */
	CLIENT_DEAD,	     /* stops answering at some time */
	CLIENT_LIAR,	     /* whatever it can think of */
	CLIENT_RECONNECTING, /* goes away, comes again */
	CLIENT_KINDS,
};
const char *client_kind_text(enum client_kind kind);

/** What a client ever asked for: no key of its may be more. */
struct asked {
	uint64_t offset, length;
	unsigned int access;
	struct asked *next;
};

struct client {
	char name[32];
	unsigned int number;
	enum client_kind kind;
	bool direct;
	struct co *co;
	struct asked *asked;
	unsigned long commands, errors;
};
void client_asked(struct client *c, uint64_t offset, uint64_t length, unsigned int access);
bool client_may(const struct client *c, uint64_t offset, uint64_t length, unsigned int access);

void block_main(void *arg);
void direct_main(void *arg);
void landlord_main(void *arg);
void reclaim_main(void *arg);

/* ---- world.c ---- */

struct fabric *world_fabric(void);
struct holding *world_holding(void);
struct loop *world_control(void);
/** Whoever runs the target gives the file another size. In a coroutine; waits for the answer. */
void world_resize(uint64_t bytes);
/** Runs one seed; fails, or returns. */
void world_run(uint64_t seed);

#endif
