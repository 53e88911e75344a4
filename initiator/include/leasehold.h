/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libleasehold(3): read and write files that a Leasehold target serves, over RDMA.
 *
 *	struct lh_error err;
 *	struct lh_client *client;
 *	struct lh_export *ex;
 *
 *	if (lh_open("iwarp://127.0.0.1/data", NULL, &client, &ex, &err) < 0)
 *		errx(1, "%s", err.text);
 *	lh_hold(ex, 0, LH_ALL, LH_READ | LH_WRITE, LH_HOLD_ALLOCATE, NULL, &err);
 *	lh_write(ex, offset, buf, 4096, &err);	// one RDMA WRITE, no CPU of the target
 *	lh_persist(ex, offset, 4096, &err);	// now it survives power loss
 *	lh_export_close(ex);
 *	lh_client_close(client);
 *
 * Two ways to move bytes. A *held* range is reached directly: one-sided RDMA through a grant. All
 * else, and a held range while the target's file system has it back, goes by NVMe block commands.
 * Grants are recalled whenever the file's own system wants its blocks; a thread of the library
 * answers, gives them back and gets them again. Callers notice nothing but the time it takes.
 *
 * Units. Offsets and lengths are bytes of the export. Direct access has no alignment; block access
 * that is not aligned to the logical block reads, patches and writes whole blocks.
 *
 * Errors. Functions return 0 or a negative errno, or -LH_EDEAD. `err` may be NULL; where it is not, a
 * failure puts a sentence there that says what went wrong and what to do.
 *	-ERANGE		outside the export as it is now (it may have been truncated: lh_export_info())
 *	-LH_EDEAD	bytes written directly never reached the target for certain: see lh_persist()
 *	-ENOTCONN	the target is gone and did not come back within reconnect_ms
 *	-ETIMEDOUT	as the word says
 *
 * Threads. Any thread may use any handle; several may use one handle at once. Closing is the
 * exception: nobody else may be inside a call on what is being closed. Operations that run at the
 * same time are not ordered. A direct write is visible to block commands and to other clients after
 * lh_persist(), or after a direct read that was submitted behind it.
 */
#ifndef LEASEHOLD_H
#define LEASEHOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LH_ERROR_BYTES 512

/** What failed (a negative errno or -LH_EDEAD) and a sentence for a person. */
struct lh_error {
	int code;
	char text[LH_ERROR_BYTES];
};

/**
 * A generation of grants died while bytes written through it were unconfirmed. They may or may not
 * be in the file. Beyond every errno, so that it is never mistaken for one.
 */
#define LH_EDEAD 4200

/** strerror(3) that also knows LH_EDEAD; `code` of either sign. Static storage. */
const char *lh_strerror(int code);

#define LH_ALL UINT64_MAX /* as a length: to the end of the export, whatever that becomes */

struct lh_client; /* a connection to a subsystem, with a service thread of its own */
struct lh_export; /* an export opened through a client */
struct lh_hold;	  /* a range that the library keeps grants over */
struct lh_buf;	  /* memory registered for RDMA */
struct lh_op;	  /* a submitted read or write */

/* ---- connecting ------------------------------------------------------------------------------ */

enum lh_crc {
	LH_CRC_AUTO, /* software fabric: on, unless both ends are on one machine or both opt out */
	LH_CRC_ON,
	LH_CRC_OFF,
};

/** What block commands name to the target: how long it can reach the caller's memory. */
enum lh_keys {
	LH_KEYS_AUTO,	  /* one-shot on the software fabric, lasting on adapters */
	LH_KEYS_ONE_SHOT, /* a memory window per command, invalidated by its response */
	LH_KEYS_LASTING,  /* the key of the registration: less work per command */
};

/** What lh_persist() does behind direct writes. */
enum lh_persist_by {
	/* an RDMA READ where the grant's level is read-after-write, an RDMA FLUSH where it is flush and
	 * this side's adapter can, else a Commit */
	LH_PERSIST_AUTO,
	LH_PERSIST_COMMIT, /* a message that the target answers when it has made them durable */
	LH_PERSIST_READ,   /* an RDMA READ. Where that does not do, lh_hold() for writing and
			    * lh_persist() refuse: -EOPNOTSUPP; and a hold for writing has to be one
			    * for reading, too, or it is refused with -EINVAL */
	LH_PERSIST_FLUSH, /* an RDMA FLUSH, refused in the same way where that does not do. What lies
			    * scattered, or in several grants, goes by Commit all the same */
};

#define LH_KATO_MIN_MS	 500
#define LH_IO_QUEUES_MAX 16
#define LH_IO_DEPTH_MIN	 2
#define LH_DEPTH_MAX	 1024

/**
 * Zero is the default everywhere; fill it with {0} so that new fields stay at theirs. What is beyond
 * a limit, or no member of its enum, is refused with -EINVAL.
 */
struct lh_options {
	const char *host_nqn;  /* default: /etc/nvme/hostnqn, or derived from /etc/machine-id */
	uint32_t kato_ms;      /* keep-alive time-out; 15,000, at least LH_KATO_MIN_MS */
	uint32_t connect_ms;   /* for one attempt at one connection; 5,000 */
	uint32_t reconnect_ms; /* how long to try again before giving up; 60,000 */
	uint32_t io_queues;    /* block queues; 1, at most LH_IO_QUEUES_MAX */
	uint32_t io_depth;     /* entries of each, one more than commands in flight; 128, from
				* LH_IO_DEPTH_MIN to LH_DEPTH_MAX; fewer where the target takes fewer */
	uint32_t direct_depth; /* work requests in flight on a direct queue; 128, at most
				* LH_DEPTH_MAX */
	uint32_t
		max_unconfirmed_kib; /* direct writes not yet committed before the library commits by
				       * itself, in the background; 65,536 */
	bool no_fallback; /* operations on held ranges never go by block commands: they wait for the
			   * regrant, at most reconnect_ms, then -ETIMEDOUT. What has no blocks of
			   * its own (holes, shared blocks) cannot be held: -ENODATA at once */
	bool replay;	  /* keep copies of unconfirmed writes and write them again if their
				      * generation dies; at most LH_REPLAY_BYTES, beyond that writes wait
				      * for a commit. Costs a copy per write */
	enum lh_crc crc;  /* a crc= in the URI wins */
	enum lh_keys keys;
	enum lh_persist_by persist;
};

#define LH_REPLAY_BYTES (64u << 20)

/**
 * Connects to the subsystem of a target written
 *	iwarp://HOST[:PORT][/EXPORT][?nqn=NQN&crc=auto|on|off]
 *	rdma://HOST[:PORT][/EXPORT][?nqn=NQN]
 * HOST is a name, an IPv4 address or an IPv6 address in brackets; PORT is 4420 if not given. EXPORT
 * is not looked at here. `options` may be NULL. Starts the service thread, which keeps the
 * connection alive and, once it is lost, makes it anew. -EINVAL: the text is no such target, or an
 * option is not in its limits.
 */
int lh_connect(const char *uri, const struct lh_options *options, struct lh_client **client,
	       struct lh_error *err);

/** Disconnects and frees. Every export and buffer of it must be closed. NULL is allowed. */
void lh_client_close(struct lh_client *client);

/**
 * From now on nothing waits for a lost connection to come back: such calls fail with -ENOTCONN. What
 * the target still answers goes on. For a program that was told to end; may be called in a signal
 * handler.
 */
void lh_client_give_up(struct lh_client *client);

/** A connection that is lost and made anew. */
struct lh_lost {
	const char *why;     /* a sentence; valid during the call only */
	uint64_t since_ns;   /* CLOCK_MONOTONIC, when it was found out */
	uint64_t give_up_ns; /* what waits for it fails then */
	bool back;	     /* it is there again */
};

/**
 * Has `fn` called when a connection has been lost for 2 s, once, and again when it is back. On the
 * service thread, which does nothing else meanwhile: no call of this library in it. NULL: no more; a
 * call may still be under way until lh_client_close().
 */
void lh_client_on_lost(struct lh_client *client, void (*fn)(const struct lh_lost *lost, void *user),
		       void *user);

struct lh_client_info {
	char address[80]; /* of the target, with port */
	char nqn[224];
	char fabric[16]; /* "iwarp" or "verbs" */
	char device[64]; /* our side's adapter */
	char model[41];	 /* of the target's Identify Controller */
	char firmware[9];
	uint16_t controller;
	bool direct; /* the target has the direct extension */
	uint32_t recall_deadline_ms;
	uint32_t max_transfer_bytes; /* of one block command; 0: no limit */
	/* What follows is of the direct extension: false and 0 without. */
	bool can_allocate;	  /* LH_HOLD_ALLOCATE */
	bool can_split;		  /* lh_hold_narrow() gives back parts of a grant */
	bool can_commit;	  /* a message makes direct writes durable */
	bool can_flush;		  /* this machine's adapter can post an RDMA FLUSH */
	bool can_watch;		  /* recalls are told to who only watches */
	uint32_t grant_expiry_ms; /* unless renewed, which the library does; 0: never */
	uint32_t max_grants;	  /* of one client */
	uint64_t max_grant_bytes; /* of one request for grants */
};

void lh_client_info(struct lh_client *client, struct lh_client_info *info);

/**
 * How long the shortest command takes to the target and back, in ns: one Keep Alive on the admin queue,
 * behind what is on it already. Waits for a connection that is lost. -ENOTCONN, or what else failed.
 */
int lh_ping(struct lh_client *client, uint64_t *ns, struct lh_error *err);

/* ---- discovery ------------------------------------------------------------------------------- */

/** Where a subsystem or another discovery service is. */
struct lh_discovery_entry {
	const char *kind; /* "nvm", "referral", "current" (the service that was asked), "unknown" */
	const char *transport; /* "rdma", "tcp", "fc", "unknown" */
	const char
		*provider; /* rdma: "infiniband", "roce", "roce-v2", "iwarp", "unknown"; else "" */
	char address[257];
	char service[33]; /* the port */
	char nqn[224];
	uint16_t port_id;
	uint16_t controller; /* 65535: given at Connect */
	uint16_t admin_entries;
	bool persistent; /* a discovery service that a host may stay connected to */
};

/**
 * Asks a target's discovery service where its subsystems are. `uri` is as for lh_connect(), without an
 * export; nqn= names a discovery subsystem other than the well-known one. The array is freed with
 * free(3). `generation` (may be NULL) changes whenever the answer does. Connects and disconnects.
 */
int lh_discover(const char *uri, const struct lh_options *options,
		struct lh_discovery_entry **entries, size_t *count, uint64_t *generation,
		struct lh_error *err);

/* ---- exports --------------------------------------------------------------------------------- */

struct lh_export_info {
	char name[64];
	uint8_t uuid[16];
	uint32_t nsid;
	uint32_t generation;
	uint32_t block_bytes;
	uint64_t size_bytes;
	uint64_t backed_bytes; /* allocated and unshared: what grants can cover now */
	bool read_only;
	bool volatile_cache; /* acknowledged block writes may be lost with power until lh_flush() */
	bool dax;
	bool tail; /* the file has bytes behind size_bytes, fewer than a block, that are not served */
	const char *state; /* "serving", "recalling", "reacquiring", "offline" */
	/* How the target registers it: "pinned", "odp"; "staged": not at all, block commands copy and
	 * nothing can be held; "none": it is not served. */
	const char *rung;
	char rung_why[144]; /* a sentence fragment: why no better one; may be empty */
	const char
		*durability; /* best level of direct writes: "none", "commit", "read-after-write",
				 * "flush" */
};

/**
 * The exports of the subsystem, in an array that the caller frees with free(3). A plain NVMe target
 * (no direct extension) gives its namespaces as "ns1" and so on.
 */
int lh_list(struct lh_client *client, struct lh_export_info **exports, size_t *count,
	    struct lh_error *err);

/** Opens an export by name. -ENOENT: none of that name; the sentence names those there are. */
int lh_export_open(struct lh_client *client, const char *name, struct lh_export **ex,
		   struct lh_error *err);

/** lh_connect() and lh_export_open() of a target with an export in it. Close both. */
int lh_open(const char *uri, const struct lh_options *options, struct lh_client **client,
	    struct lh_export **ex, struct lh_error *err);

/**
 * Gives all grants back and frees. Direct writes that were never persisted are committed first;
 * returns -LH_EDEAD if some of them could not be, after closing all the same. NULL is allowed.
 */
int lh_export_close(struct lh_export *ex);

/** What the target last said of it; asks again if `refresh`. */
int lh_export_info(struct lh_export *ex, bool refresh, struct lh_export_info *info,
		   struct lh_error *err);

/**
 * The NGUID of the export's namespace, by which other hosts know it; asks the target. All zeros where it
 * has none, or is not served now.
 */
int lh_export_nguid(struct lh_export *ex, uint8_t nguid[16], struct lh_error *err);

/* ---- memory ---------------------------------------------------------------------------------- */

/**
 * Page-aligned zeroed memory, registered with the client's adapter. Freed by lh_free(), which takes
 * the address. Reads and writes from or into such memory are not copied; others pass through
 * buffers of the library. NULL if there is none (errno says why).
 */
void *lh_alloc(struct lh_client *client, size_t bytes);
void lh_free(struct lh_client *client, void *memory);

/**
 * Registers memory of the caller's. It must stay mapped until lh_buf_unregister(). The target can
 * reach registered memory while it is connected. -EINVAL: no memory, or none of it; -EEXIST: part of
 * it is registered already.
 */
int lh_buf_register(struct lh_client *client, void *memory, size_t bytes, struct lh_buf **buf,
		    struct lh_error *err);
/** No operation may be in flight on it. */
void lh_buf_unregister(struct lh_buf *buf);

/* ---- holding ranges -------------------------------------------------------------------------- */

enum lh_access {
	LH_READ = 1 << 0,
	LH_WRITE = 1 << 1, /* no other client holds the bytes for writing meanwhile */
};

enum lh_hold_flags {
	LH_HOLD_ALLOCATE = 1 << 0, /* have holes in the range filled, so that they can be granted */
	LH_HOLD_NOWAIT = 1 << 1,   /* return at once; grants come when they come */
	LH_HOLD_BRIEF = 1 << 2, /* -ETIMEDOUT 1 s after the target said that it cannot just now */
};

/**
 * Keeps grants over [offset, offset + length) until lh_unhold() or the export's closing: gets them,
 * renews them, gives them back on a recall, gets them again. Rounded out to 4,096 bytes. Waits until
 * what can be granted is granted, at most 10 s.
 * The range need not lie inside the export, even to begin with: what is beyond its end is granted
 * once the export has grown over it. That is no error; lh_hold_info() tells how much is granted, which
 * of a range wholly beyond the end is nothing. Reads and writes there fail with -ERANGE till then.
 * `hold` may be NULL: released with the export. What is not backed (holes, shared blocks) stays on
 * block commands: no error, see lh_hold_info(); with no_fallback it is -ENODATA.
 * -EOPNOTSUPP: no direct access here (the sentence says why; block access works), or not with
 * lh_options.persist (then nothing is lost by asking for another). -ENODATA: not one
 * byte of it is backed. -EBUSY: another client holds it for writing. -ETIMEDOUT: not granted in that
 * time, for the reason in the sentence. -EINVAL: unknown access or flags, or a length of 0. On an
 * error nothing is held. With LH_HOLD_NOWAIT what may pass is waited for in the background: another
 * client's grants, holes (looked at again after the next recall); with no_fallback, and where there is
 * no direct access at all, the operations fail with such an error, or go by block commands.
 */
int lh_hold(struct lh_export *ex, uint64_t offset, uint64_t length, unsigned int access,
	    unsigned int flags, struct lh_hold **hold, struct lh_error *err);

/** Gives it back. Commits what was written through it first; -LH_EDEAD as in lh_persist(). */
int lh_unhold(struct lh_hold *hold);

/**
 * Keeps [offset, offset + length) of what is held, rounded out to 4,096 bytes, and gives back the rest,
 * but for what other holds of the export want; commits what was written through the hold first. A grant
 * that reaches into both is split by the target: nobody gets the kept bytes in between, and reads and
 * writes of them wait meanwhile. To give back what lies in the middle hold what is behind it, too, which
 * costs nothing, and narrow the first hold to what is before it. One call at a time on a hold.
 * A target that cannot split a grant, or just now, leaves it granted as it is, which is no error.
 * -EINVAL: it is no part of the hold, or empty; nothing has changed. -LH_EDEAD, as in lh_persist(): it is
 * done, and bytes of what was held are lost.
 */
int lh_hold_narrow(struct lh_hold *hold, uint64_t offset, uint64_t length, struct lh_error *err);

struct lh_hold_info {
	uint64_t offset;
	uint64_t length;	/* as asked for, cut off at the end of the export */
	uint64_t granted_bytes; /* reachable directly now */
	uint32_t generation;	/* 0 while nothing is granted */
	uint32_t pieces;	/* grants that make it up */
	const char *durability; /* what lh_persist() gives: "none", "commit" … */
};

void lh_hold_info(struct lh_hold *hold, struct lh_hold_info *info);

/* ---- reading and writing --------------------------------------------------------------------- */

/**
 * Directly where the range is held and granted, by block commands elsewhere. A direct write has
 * left when lh_write() returns; lh_persist() makes sure of it. The memory may be used again on return.
 * -EINVAL: `buf` is NULL.
 */
int lh_read(struct lh_export *ex, uint64_t offset, void *buf, uint64_t length,
	    struct lh_error *err);
int lh_write(struct lh_export *ex, uint64_t offset, const void *buf, uint64_t length,
	     struct lh_error *err);

/** By block commands only. Acknowledged writes are durable, but for a volatile cache: lh_flush(). */
int lh_block_read(struct lh_export *ex, uint64_t offset, void *buf, uint64_t length,
		  struct lh_error *err);
int lh_block_write(struct lh_export *ex, uint64_t offset, const void *buf, uint64_t length,
		   struct lh_error *err);

/** NVMe Flush: what block writes have put in a volatile cache. */
int lh_flush(struct lh_export *ex, struct lh_error *err);

/**
 * Makes direct writes to the range that have returned durable to the level of the grant
 * (lh_hold_info()), and waits for the target's word: at most 30 s, or till the connection is lost
 * (kato_ms), then till it is back or reconnect_ms have passed. Block writes are not its business.
 * What the library confirms by itself (in the background, for a recall) may go by Commit whatever
 * lh_options.persist says: that is never less.
 * -EOPNOTSUPP: LH_PERSIST_READ or _FLUSH, and the grant's level is another now; nothing was confirmed.
 * -LH_EDEAD: some of the bytes were written through a generation that died (recall past its
 * deadline, connection lost) before they were confirmed: write them again (either way), then persist
 * again. The error stays until they are written again or lh_forget() is called. Counted in pages of
 * 4,096 bytes: to be rid of it, write whole ones.
 */
int lh_persist(struct lh_export *ex, uint64_t offset, uint64_t length, struct lh_error *err);

/** Accepts that unconfirmed bytes of the range may be lost: lh_persist() is silent on them again. */
void lh_forget(struct lh_export *ex, uint64_t offset, uint64_t length);

enum lh_io_flags {
	LH_IO_WRITE = 1 << 0, /* else it is a read */
	LH_IO_BLOCK = 1 << 1, /* by block commands only */
	/*
	 * Alone. Gives the pages of 4,096 bytes that lie wholly in the range back to the target's file
	 * system, by a block command (NVMe Dataset Management, Deallocate): they read as zeroes then.
	 * Of what is granted to anybody the grants are recalled first. A target that was told to take
	 * it as a hint (advisory_deallocate) leaves the bytes as they are.
	 */
	LH_IO_DEALLOCATE = 1 << 2,
	/*
	 * With LH_IO_WRITE. Done when it is durable, too, as after lh_persist() of a direct write, or as a
	 * block write is that goes past a volatile cache (NVMe FUA). What confirms it leaves right behind
	 * its bytes: that costs no second round trip, and what was submitted meanwhile shares it. Bytes
	 * whose grant dies before that are written again from `buf`: there is no -LH_EDEAD.
	 */
	LH_IO_DURABLE = 1 << 3,
};

struct lh_io {
	unsigned int flags;
	uint64_t offset;
	uint64_t length;
	void *buf; /* stays the library's until the operation is done; to deallocate there is none */
};

#define LH_OPS_MAX 256 /* operations submitted and not yet waited for, per export */

/**
 * Starts a read, a write or a deallocation. Must be followed by lh_wait() on `op`, which also moves the
 * bytes: the library does not promise progress without. -EAGAIN: LH_OPS_MAX are out, wait for one
 * first. -EINVAL: flags that are none of enum lh_io_flags or do not go together, or a range to
 * deallocate that is not made of whole logical blocks.
 */
int lh_submit(struct lh_export *ex, const struct lh_io *io, struct lh_op **op,
	      struct lh_error *err);

/**
 * Waits for an operation and returns its result; `op` is gone then. -ETIMEDOUT after timeout_ms
 * (-1: never, 0: only looks), and then it is still in flight and to be waited for again.
 */
int lh_wait(struct lh_op *op, int timeout_ms, struct lh_error *err);

/**
 * Waits until one of `count` operations is done, and says which; lh_wait() of it returns at once then.
 * The others go on meanwhile. -ETIMEDOUT after timeout_ms, as in lh_wait(). -EINVAL: there are none.
 * Nobody else may wait for any of them at the same time. Those of several exports, or on several
 * queues (io_queues, or in part direct), are looked at in turns: it may be told a millisecond late.
 */
int lh_wait_any(struct lh_op *const *ops, size_t count, int timeout_ms, size_t *which,
		struct lh_error *err);

/* ---- what happens to grants ------------------------------------------------------------------ */

enum lh_event_kind {
	LH_EVENT_GRANTED,  /* for the first time, or more of it; length is how much in all */
	LH_EVENT_TOLD,	   /* a recall arrived; nothing more is posted */
	LH_EVENT_RELEASED, /* all was confirmed and given back; the keys are dead */
	LH_EVENT_REGRANTED,
	LH_EVENT_FENCED,   /* the direct queue was lost with its grants */
	LH_EVENT_DEAD,	   /* bytes [offset, offset + length) died unconfirmed */
	LH_EVENT_REPLAYED, /* they were written again from the library's copies */
	LH_EVENT_RESIZED,  /* length is the new size */
	LH_EVENT_RECONNECTED,
	LH_EVENT_WAITING, /* the target will not grant now; `text` says why. The library tries again */
};

struct lh_event {
	enum lh_event_kind kind;
	uint64_t time_ns; /* CLOCK_MONOTONIC, when it happened */
	uint64_t offset;
	uint64_t length;
	uint32_t generation;
	const char *text; /* a sentence; valid during the call */
};

/**
 * Has `fn` called for each event, on a thread of the library, which answers recalls: it must be
 * quick and must not call into the library (lh_event_name() is fine).
 */
void lh_export_on_event(struct lh_export *ex, void (*fn)(const struct lh_event *event, void *user),
			void *user);

/** "told", "released", "regranted" … */
const char *lh_event_name(enum lh_event_kind kind);

/* ---- watching -------------------------------------------------------------------------------- */

enum lh_watch_kind {
	LH_WATCH_BEGUN,	    /* what the export is when it is first looked at */
	LH_WATCH_RECALLING, /* its file system wants the bytes back; block access goes on */
	LH_WATCH_RELEASED,  /* it has them */
	LH_WATCH_SERVED,    /* grants can be had, of `generation` */
	LH_WATCH_RESIZED,
	LH_WATCH_OFFLINE, /* the target does not have its file, or lists it no more */
	LH_WATCH_CHANGED, /* another rung, durability, or flag: see lh_export_info() */
	LH_WATCH_LOST,	  /* the connection; it is being made anew */
	LH_WATCH_RECONNECTED,
	LH_WATCH_MISSED, /* more happened than could be told; what follows is as it is now */
};

struct lh_watch_event {
	enum lh_watch_kind kind;
	uint64_t time_ns; /* CLOCK_MONOTONIC, when it was learned here */
	uint64_t offset;  /* RECALLING, RELEASED: which bytes; length LH_ALL: all of them */
	uint64_t length;
	uint64_t size_bytes;
	uint32_t generation;
	const char *state; /* as in struct lh_export_info */
	const char *rung;
};

#define LH_WATCH_EVENTS 256 /* kept until they are asked for; then LH_WATCH_MISSED */

/**
 * Has what happens to an export noted from now on, for lh_watch_next(), until it is closed. Needs no
 * grant, holds nothing, and no recall waits for it. LH_WATCH_BEGUN comes first. Recalls are told as they
 * happen by a target that can (lh_client_info.can_watch); of another only what is different
 * afterwards is. -ENOMEM.
 */
int lh_watch(struct lh_export *ex, struct lh_error *err);

/**
 * The next event of an export under lh_watch(). -ETIMEDOUT after timeout_ms (-1: never). -ENOTCONN:
 * there is none left, and the connection could not be made anew in reconnect_ms; asking again has it
 * tried again. -EINVAL: it is not watched.
 */
int lh_watch_next(struct lh_export *ex, int timeout_ms, struct lh_watch_event *event,
		  struct lh_error *err);

/** "begun", "recalling", "served" … */
const char *lh_watch_name(enum lh_watch_kind kind);

struct lh_stats {
	uint64_t direct_reads, direct_read_bytes;
	uint64_t direct_writes, direct_write_bytes;
	uint64_t block_reads, block_read_bytes;
	uint64_t block_writes, block_write_bytes;
	uint64_t fallbacks;	 /* operations on held ranges that went by block commands */
	uint64_t fallback_bytes; /* counted as direct above, moved by block commands in the end */
	uint64_t retries;	 /* operations begun again after a recall or a lost connection */
	uint64_t bounced_bytes;
	uint64_t commits, commit_ranges;
	uint64_t confirming_reads;   /* RDMA READs in a Commit's place */
	uint64_t confirming_flushes; /* RDMA FLUSHes there */
	uint64_t acquires, grants, renewals;
	uint64_t recalls, releases, regrants, fenced, reconnects;
	uint64_t dead_bytes, replayed_bytes;
};

void lh_export_stats(struct lh_export *ex, struct lh_stats *stats);

/* ---- diagnosis ------------------------------------------------------------------------------- */

/** A grant's key, for showing that a dead one is refused. */
struct lh_key {
	uint64_t offset;
	uint64_t address;
	uint64_t length;
	uint32_t rkey;
	uint32_t generation;
	uint64_t queue; /* which of the export's direct queues it was granted to, counted from 1 */
};

/** The key in use for `offset`. -ENOENT: none now. */
int lh_export_key(struct lh_export *ex, uint64_t offset, struct lh_key *key);

/**
 * Writes the 8 bytes at `data` (NULL: reads 8) through a key, on the direct queue that it was granted
 * to. Returns 0 if the target let it happen, -EACCES if it refused (`err` has the fabric's words,
 * "remote access error"), -ENOTCONN if that queue is gone, or went before the target had answered,
 * which proves nothing; or what else kept the attempt from being made. A refusal ends the queue, which
 * is no fence; the library opens another and acquires again. What other threads wrote directly
 * meanwhile and did not lh_persist() is lost with it, and reported as such.
 */
int lh_try_key(struct lh_export *ex, const struct lh_key *key, const void *data,
	       struct lh_error *err);

/** "0.1.0" */
const char *lh_version(void);

#ifdef __cplusplus
}
#endif
#endif
