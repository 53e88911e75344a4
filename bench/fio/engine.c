// SPDX-License-Identifier: BSD-3-Clause
/*
 * fio's I/O engine "leasehold": exports of a target, directly or by block commands. See docs/fio.md.
 *
 * A job is a client of its own, with its own connection, whether it runs as a thread or a process. In
 * fio's order: setup() asks for the size and leaves again, since fio forks after it; init() connects;
 * iomem_alloc() gives the job memory that is registered; open_file() knows the job's part of the export,
 * which direct jobs hold from then on; queue() submits, getevents() waits; cleanup() closes.
 *
 * What a write is worth when fio is told that it is done is `persist`'s word: LH_IO_DURABLE or not.
 */
#include "fio.h"
#include "optgroup.h"
#include "verify.h"

#include "leasehold.h"
#include "recaller.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum mode {
	MODE_DIRECT,
	MODE_BLOCK,
};

enum persist {
	PERSIST_NONE,
	PERSIST_AUTO,
	PERSIST_READ_AFTER_WRITE,
	PERSIST_FLUSH,
	PERSIST_COMMIT,
};

enum fabric {
	FABRIC_URI, /* as the URI says */
	FABRIC_IWARP,
	FABRIC_VERBS,
};

/* ---- options ----------------------------------------------------------------------------------- */

struct options {
	void *td; /* fio's */
	char *uri;
	unsigned int mode;
	unsigned int persist;
	unsigned int fabric;
	unsigned int fallback;
	unsigned int busy_poll;
	unsigned int recall_rate;
	unsigned long long recall_bytes;
	char *admin_socket;
};

#define OPTION(field) .off1 = offsetof(struct options, field)
#define ENGINE	      .category = FIO_OPT_C_ENGINE, .group = FIO_OPT_G_INVALID

static struct fio_option options[] = {
	{.name = "uri",
	 .lname = "Target",
	 .type = FIO_OPT_STR_STORE,
	 OPTION(uri),
	 .help = "iwarp://HOST[:PORT]/EXPORT or rdma://HOST[:PORT]/EXPORT; with fabric=, "
		 "HOST[:PORT]/EXPORT",
	 ENGINE},
	{.name = "mode",
	 .lname = "Way to the bytes",
	 .type = FIO_OPT_STR,
	 OPTION(mode),
	 .help = "How reads and writes reach the export",
	 .def = "direct",
	 .posval = {{.ival = "direct",
		     .oval = MODE_DIRECT,
		     .help = "one-sided: the job holds its part of the export (offset=, size=)"},
		    {.ival = "block", .oval = MODE_BLOCK, .help = "NVMe commands"}},
	 ENGINE},
	{.name = "persist",
	 .lname = "When a write is done",
	 .type = FIO_OPT_STR,
	 OPTION(persist),
	 .help = "What a write is worth when it is told as done (fsync= works with each)",
	 .def = "none",
	 .posval = {{.ival = "none",
		     .oval = PERSIST_NONE,
		     .help = "direct: it has left; block: it was answered"},
		    {.ival = "auto",
		     .oval = PERSIST_AUTO,
		     .help = "as durable as the target says that the medium is"},
		    {.ival = "read-after-write",
		     .oval = PERSIST_READ_AFTER_WRITE,
		     .help = "direct: an RDMA READ behind it was answered, where that suffices"},
		    {.ival = "flush",
		     .oval = PERSIST_FLUSH,
		     .help = "direct: an RDMA FLUSH of it was answered, where that suffices"},
		    {.ival = "commit",
		     .oval = PERSIST_COMMIT,
		     .help = "direct: the target has answered a Commit of it"}},
	 ENGINE},
	{.name = "fabric",
	 .lname = "Fabric",
	 .type = FIO_OPT_STR,
	 OPTION(fabric),
	 .help = "Fabric of a uri= that names none",
	 .def = "uri",
	 .posval = {{.ival = "uri", .oval = FABRIC_URI, .help = "the one in uri="},
		    {.ival = "iwarp", .oval = FABRIC_IWARP, .help = "the software fabric"},
		    {.ival = "verbs", .oval = FABRIC_VERBS, .help = "an RDMA adapter"}},
	 ENGINE},
	{.name = "fallback",
	 .lname = "Block commands for direct jobs",
	 .type = FIO_OPT_BOOL,
	 OPTION(fallback),
	 .help = "mode=direct: use block commands while the grant is away, else wait for it",
	 .def = "1",
	 ENGINE},
	{.name = "busy_poll",
	 .lname = "Busy polling",
	 .type = FIO_OPT_BOOL,
	 OPTION(busy_poll),
	 .help = "Never sleep while waiting for a completion (0: poll for some us, then sleep)",
	 .def = "0",
	 ENGINE},
	{.name = "recall_rate",
	 .lname = "Recalls per second",
	 .type = FIO_OPT_INT,
	 OPTION(recall_rate),
	 .maxval = 10000,
	 .help = "How often the daemon, on this machine, takes a random part of the job's range "
		 "back",
	 .def = "0",
	 ENGINE},
	{.name = "recall_bytes",
	 .lname = "Bytes of a recall",
	 .type = FIO_OPT_STR_VAL,
	 OPTION(recall_bytes),
	 .parent = "recall_rate",
	 .help = "How much is taken back each time",
	 .def = "1m",
	 ENGINE},
	{.name = "admin_socket",
	 .lname = "Admin socket",
	 .type = FIO_OPT_STR_STORE,
	 OPTION(admin_socket),
	 .parent = "recall_rate",
	 .help = "The daemon's admin socket (default: where a daemon of this user has it)",
	 ENGINE},
	{.name = NULL},
};

/* ---- a job ------------------------------------------------------------------------------------- */

struct job {
	struct lh_client *client;
	struct lh_export *ex;
	struct lh_export_info info;
	struct recaller *recaller;
	unsigned int flags; /* of each operation: LH_IO_BLOCK or nothing */
	bool held;
	bool durable;	    /* a write is done when it is durable */
	uint64_t fallbacks; /* when durability was last asked for */
	bool told;	    /* of an operation that failed */
	/* In the order in which they were submitted: what is out, and for whom. */
	struct lh_op *ops[LH_OPS_MAX];
	struct io_u *units[LH_OPS_MAX];
	unsigned int out;
	struct io_u *events[LH_OPS_MAX]; /* done, for fio to look at */
};

/* fio wants an errno. */
static int to_errno(int rc)
{
	return rc == -LH_EDEAD ? EIO : -rc;
}

static int complain(struct thread_data *td, int rc, const char *text)
{
	log_err("fio: %s: leasehold: %s\n", td->o.name, text);
	td_vmsg(td, to_errno(rc), text, "leasehold");
	return 1;
}

/* The target with its fabric in front; NULL, with a sentence, if the two options contradict. For free(3). */
static char *full_uri(const struct options *o, char *why, size_t bytes)
{
	const char *scheme = o->fabric == FABRIC_VERBS ? "rdma://" : "iwarp://";
	char *text = NULL;

	if (o->fabric == FABRIC_URI)
		return strdup(o->uri);
	if (strncmp(o->uri, scheme, strlen(scheme)) == 0)
		return strdup(o->uri);
	if (strstr(o->uri, "://"))
		(void)snprintf(why, bytes, "uri=%s is of another fabric than fabric=%s", o->uri,
			       o->fabric == FABRIC_VERBS ? "verbs" : "iwarp");
	else if (asprintf(&text, "%s%s", scheme, o->uri) < 0)
		text = NULL;
	return text;
}

static enum lh_persist_by persist_by(const struct options *o)
{
	switch ((enum persist)o->persist) {
	case PERSIST_READ_AFTER_WRITE:
		return LH_PERSIST_READ;
	case PERSIST_FLUSH:
		return LH_PERSIST_FLUSH;
	case PERSIST_COMMIT:
		return LH_PERSIST_COMMIT;
	default:
		return LH_PERSIST_AUTO;
	}
}

static int connect_job(struct thread_data *td, struct lh_client **client, struct lh_export **ex)
{
	const struct options *o = td->eo;
	const unsigned int depth = td->o.iodepth;
	struct lh_options opt = {
		.no_fallback = !o->fallback,
		/* 0 is the library's own, which is enough for less. */
		.io_depth = depth < 128 ? 0 : depth + 1,
		.direct_depth = depth < 128 ? 0 : depth,
		.persist = persist_by(o),
	};
	struct lh_error err = {.text = "out of memory"};
	char *uri = full_uri(o, err.text, sizeof(err.text));
	int rc = uri ? lh_open(uri, &opt, client, ex, &err) : -EINVAL;

	free(uri);
	return rc < 0 ? complain(td, rc, err.text) : 0;
}

/* What is asked for in vain, before anything is connected. */
static const char *refusal(const struct thread_data *td)
{
	const struct options *o = td->eo;

	if (!o->uri || !o->uri[0])
		return "uri= is missing: iwarp://HOST[:PORT]/EXPORT or rdma://HOST[:PORT]/EXPORT";
	if (o->persist != PERSIST_NONE && o->persist != PERSIST_AUTO && o->mode == MODE_BLOCK)
		return "persist=commit, flush and read-after-write are of mode=direct: block "
		       "writes are durable when answered, or with persist=auto where the export "
		       "has a volatile cache";
	if (td->o.iodepth > LH_OPS_MAX)
		return "iodepth is more than 256, the operations that the library has out at once";
	if (td->o.nr_files > 1)
		return "nrfiles: a job works on one export, with uri=";
	return NULL;
}

static bool is_verbs(const struct options *o)
{
	return o->fabric == FABRIC_VERBS || strncmp(o->uri, "rdma:", strlen("rdma:")) == 0;
}

static int setup(struct thread_data *td)
{
	const char *why = refusal(td);
	struct lh_export_info info;
	struct lh_client *client = NULL;
	struct lh_export *ex = NULL;
	struct fio_file *f;
	int rc;

	if (why)
		return complain(td, -EINVAL, why);
	rc = connect_job(td, &client, &ex);
	if (rc)
		return rc;
	(void)lh_export_info(ex, false, &info, NULL);
	(void)lh_export_close(ex);
	lh_client_close(client);
	/* An RDMA device works for the process that opened it, which was this one just now. */
	if (is_verbs(td->eo))
		td->o.use_thread = 1;
	if (!td->files_index)
		add_file(td, td->o.filename ?: "leasehold", 0, 0);
	f = td->files[0];
	f->filetype = FIO_TYPE_BLOCK; /* of a size that fio does not change */
	f->real_file_size = info.size_bytes;
	fio_file_set_size_known(f);
	return 0;
}

static int init(struct thread_data *td)
{
	const struct options *o = td->eo;
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return complain(td, -ENOMEM, "out of memory");
	if (connect_job(td, &job->client, &job->ex)) {
		free(job);
		return 1;
	}
	(void)lh_export_info(job->ex, false, &job->info, NULL);
	job->flags = o->mode == MODE_BLOCK ? LH_IO_BLOCK : 0;
	if (o->persist == PERSIST_AUTO)
		job->durable = o->mode == MODE_BLOCK ? job->info.volatile_cache
						     : strcmp(job->info.durability, "none") != 0;
	else
		job->durable = o->persist != PERSIST_NONE;
	td->io_ops_data = job;
	return 0;
}

static int iomem_alloc(struct thread_data *td, size_t bytes)
{
	struct job *job = td->io_ops_data;

	td->orig_buffer = lh_alloc(job->client, bytes);
	if (!td->orig_buffer)
		return complain(td, -errno,
				"no registered memory for the buffers: raise RLIMIT_MEMLOCK "
				"(ulimit -l), or ask for less iodepth");
	return 0;
}

static void iomem_free(struct thread_data *td)
{
	struct job *job = td->io_ops_data;

	if (job && td->orig_buffer)
		lh_free(job->client, td->orig_buffer);
	td->orig_buffer = NULL;
}

/* A direct job has grants over its part while it runs: none if all it does is to trim. */
static int hold(struct thread_data *td, struct job *job, const struct fio_file *f)
{
	const enum lh_persist_by by = persist_by(td->eo);
	struct lh_error err;
	unsigned int access = 0;
	int rc;

	if (td_read(td) || td->o.verify != VERIFY_NONE)
		access |= LH_READ;
	if (td_write(td))
		access |= LH_WRITE;
	/* What a read is to confirm has to be readable. */
	if (td_write(td) && (by == LH_PERSIST_READ || by == LH_PERSIST_AUTO))
		access |= LH_READ;
	if (!access)
		return 0;
	/* Who only reads leaves the file as it is. */
	rc = lh_hold(job->ex, f->file_offset, f->io_size, access,
		     access & LH_WRITE ? LH_HOLD_ALLOCATE : 0, NULL, &err);
	if (rc == -EBUSY)
		log_err("fio: %s: jobs that write directly need a part of the export each: "
			"offset_increment=, with size=\n",
			td->o.name);
	if (rc < 0)
		return complain(td, rc, err.text);
	job->held = true;
	return 0;
}

static int start_recalls(struct thread_data *td, struct job *job, const struct fio_file *f)
{
	const struct options *o = td->eo;
	const struct recaller_param param = {
		.socket = o->admin_socket,
		.export_name = job->info.name,
		.offset = f->file_offset,
		.length = f->io_size,
		.bytes = o->recall_bytes,
		.per_second = o->recall_rate,
		.seed = td->rand_seeds[FIO_RAND_BLOCK_OFF],
	};
	char why[RECALLER_TEXT_BYTES];

	job->recaller = recaller_start(&param, why);
	return job->recaller ? 0 : complain(td, -EIO, why);
}

/* More than once where a job has several rounds; what it holds stays. */
static int open_file(struct thread_data *td, struct fio_file *f)
{
	const struct options *o = td->eo;
	struct job *job = td->io_ops_data;

	if (f->file_offset + f->io_size > job->info.size_bytes)
		return complain(td, -ERANGE,
				"offset= and size= reach beyond the end of the export");
	if (o->mode == MODE_DIRECT && !job->held && hold(td, job, f))
		return 1;
	return o->recall_rate && !job->recaller ? start_recalls(td, job, f) : 0;
}

static int close_file(struct thread_data *td, struct fio_file *f)
{
	(void)td;
	(void)f;
	return 0;
}

/* There is no cache on this side. */
static int invalidate(struct thread_data *td, struct fio_file *f)
{
	(void)td;
	(void)f;
	return 0;
}

/* What a job's figures do not show, if there is any. Not on fio's output, which a program may read. */
static void report(const struct thread_data *td, const struct job *job, uint64_t asked)
{
	struct lh_stats s;

	lh_export_stats(job->ex, &s);
	if (!asked && !s.recalls && !s.fallbacks && !s.reconnects)
		return;
	(void)fprintf(stderr,
		      "leasehold: %s: %" PRIu64 " recalls asked for; %" PRIu64 " heard, %" PRIu64
		      " regrants, %" PRIu64 " fences, %" PRIu64 " reconnects, %" PRIu64
		      " bytes died unconfirmed; %" PRIu64 " operations of %" PRIu64
		      " by block commands instead of directly\n",
		      td->o.name, asked, s.recalls, s.regrants, s.fenced, s.reconnects,
		      s.dead_bytes, s.fallbacks, s.direct_reads + s.direct_writes);
}

static void cleanup(struct thread_data *td)
{
	struct job *job = td->io_ops_data;
	char why[RECALLER_TEXT_BYTES];
	int rc;

	if (!job)
		return;
	report(td, job, recaller_stop(job->recaller, why));
	if (why[0])
		(void)complain(td, -EIO, why);
	rc = lh_export_close(job->ex);
	if (rc < 0)
		(void)complain(td, rc,
			       "bytes written directly may be lost: their grant died first");
	lh_client_close(job->client);
	free(job);
	td->io_ops_data = NULL;
}

/* ---- I/O --------------------------------------------------------------------------------------- */

/* Once a job: what comes after it is mostly the same. */
static void explain(struct thread_data *td, struct job *job, const struct lh_error *err)
{
	if (!job->told)
		log_err("fio: %s: leasehold: %s\n", td->o.name, err->text);
	job->told = true;
}

/* What was written in the range, by whichever way. 0 or -errno. */
static int make_durable(struct job *job, uint64_t offset, uint64_t length, struct lh_error *err)
{
	struct lh_stats stats;
	bool by_block = job->flags & LH_IO_BLOCK;
	int rc = 0;

	if (!by_block) {
		rc = lh_persist(job->ex, offset, length, err);
		lh_export_stats(job->ex, &stats);
		by_block = stats.fallbacks != job->fallbacks;
		job->fallbacks = stats.fallbacks;
	}
	if (rc == 0 && by_block && job->info.volatile_cache)
		rc = lh_flush(job->ex, err);
	return rc;
}

/* What is written directly has to be there before a block command follows it. */
static int submit(struct job *job, const struct io_u *unit, struct lh_op **op, struct lh_error *err)
{
	struct lh_io io = {.flags = job->flags,
			   .offset = unit->offset,
			   .length = unit->xfer_buflen,
			   .buf = unit->xfer_buf};

	if (unit->ddir == DDIR_TRIM) {
		int rc = job->held ? lh_persist(job->ex, io.offset, io.length, err) : 0;

		if (rc < 0)
			return rc;
		io.flags = LH_IO_DEALLOCATE;
		io.buf = NULL;
	} else if (unit->ddir == DDIR_WRITE) {
		io.flags |= LH_IO_WRITE | (job->durable ? LH_IO_DURABLE : 0);
	}
	return lh_submit(job->ex, &io, op, err);
}

static enum fio_q_status queue(struct thread_data *td, struct io_u *unit)
{
	struct job *job = td->io_ops_data;
	struct lh_error err;
	int rc;

	/* Before it is sent: with the software fabric most of the work is done in here. */
	if (fio_fill_issue_time(td))
		fio_gettime(&unit->issue_time, NULL);
	if (ddir_sync(unit->ddir)) {
		rc = make_durable(job, 0, LH_ALL, &err);
	} else if (job->recaller && recaller_error(job->recaller) < 0) {
		unit->error = EIO; /* cleanup() says why */
		return FIO_Q_COMPLETED;
	} else {
		rc = submit(job, unit, &job->ops[job->out], &err);
		if (rc == 0) {
			job->units[job->out++] = unit;
			return FIO_Q_QUEUED;
		}
	}
	if (rc < 0) {
		explain(td, job, &err);
		unit->error = (unsigned int)to_errno(rc);
	}
	return FIO_Q_COMPLETED;
}

/* The operation is done: its result goes to fio's unit. */
static struct io_u *take(struct thread_data *td, struct job *job, size_t i)
{
	struct io_u *unit = job->units[i];
	struct lh_error err;
	int rc = lh_wait(job->ops[i], -1, &err);

	if (rc < 0) {
		explain(td, job, &err);
		unit->error = (unsigned int)to_errno(rc);
	}
	job->out--;
	memmove(&job->ops[i], &job->ops[i + 1], (job->out - i) * sizeof(*job->ops));
	memmove(&job->units[i], &job->units[i + 1], (job->out - i) * sizeof(*job->units));
	return unit;
}

/* fio's time limit: -1 is none. */
static int timeout_ms(const struct timespec *t)
{
	return t ? (int)(t->tv_sec * 1000 + (t->tv_nsec + 999999) / 1000000) : -1;
}

/* Waits for `min` events; then takes those that are there anyway, up to `max`. */
static int getevents(struct thread_data *td, unsigned int min, unsigned int max,
		     const struct timespec *t)
{
	const struct options *o = td->eo;
	struct job *job = td->io_ops_data;
	unsigned int ready = 0;

	while (ready < max && job->out) {
		const bool wait = ready < min;
		size_t i;

		if (lh_wait_any(job->ops, job->out, wait && !o->busy_poll ? timeout_ms(t) : 0, &i,
				NULL) == 0)
			job->events[ready++] = take(td, job, i);
		else if (!wait || t)
			break;
	}
	return (int)ready;
}

static struct io_u *event(struct thread_data *td, int i)
{
	struct job *job = td->io_ops_data;

	return job->events[i];
}

/* ---- the door ---------------------------------------------------------------------------------- */

static struct ioengine_ops engine = {
	.name = "leasehold",
	.version = FIO_IOOPS_VERSION,
	.flags = FIO_DISKLESSIO | FIO_NOEXTEND | FIO_NODISKUTIL | FIO_ASYNCIO_SETS_ISSUE_TIME,
	.setup = setup,
	.init = init,
	.queue = queue,
	.getevents = getevents,
	.event = event,
	.cleanup = cleanup,
	.open_file = open_file,
	.close_file = close_file,
	.invalidate = invalidate,
	.iomem_alloc = iomem_alloc,
	.iomem_free = iomem_free,
	.option_struct_size = sizeof(struct options),
	.options = options,
};

void get_ioengine(struct ioengine_ops **ops);

/*
 * fio calls this when it has loaded us. FIO_IOOPS_VERSION, which fio compares itself, stays the same over
 * releases in which the job's structure changes, so the release has to be the same, too.
 */
void get_ioengine(struct ioengine_ops **ops)
{
	if (strcmp(fio_version_string, FIO_HEADERS_VERSION) == 0)
		*ops = &engine;
	else
		(void)fprintf(
			stderr,
			"leasehold: this engine was built against the headers of %s and this is "
			"%s: build it anew (bench/fio/headers --help)\n",
			FIO_HEADERS_VERSION, fio_version_string);
}
