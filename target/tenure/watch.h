/* SPDX-License-Identifier: BSD-3-Clause */
/* A file that is watched. For the room's own files; what is not said here: tenure.h. */
#ifndef LEASEHOLD_TENURE_WATCH_H
#define LEASEHOLD_TENURE_WATCH_H

#include "tenure/lease.h"
#include "tenure/tenure.h"

#define WATCH_QUIET_NS	   (10 * NS_PER_MS)   /* after what was let go on has ended … */
#define WATCH_QUIET_MAX_NS (320 * NS_PER_MS)  /* … and at most, where it is never quiet for long */
#define WATCH_UNSEEN_NS	   (100 * NS_PER_MS)  /* after what was let go on, and not seen to end */
#define WATCH_BUSY_NS	   (1000 * NS_PER_MS) /* asked again so soon: it is not quiet for long */
#define WATCH_FORCE_NS \
	(1000 * NS_PER_MS)		 /* others had it for so long: it is taken all the same … */
#define WATCH_SLICE_NS (200 * NS_PER_MS) /* … and for so long nobody breaks it */

struct watch;

MUST_CHECK int watch_new(const struct tenure_config *config, struct watch **w);
void watch_free(struct watch *w);
bool watch_settled(const struct watch *w);
void watch_begin(struct watch *w);
MUST_CHECK int watch_take(struct watch *w, struct errtext *err);
void watch_release(struct watch *w);
enum tenure_state watch_check(const struct watch *w);
void watch_end(struct watch *w);
struct retry_pace watch_pace(struct watch *w);
void watch_part_release(struct watch *w, struct tenure_part *part);
void watch_part_take(struct watch *w, struct tenure_part *part);
bool watch_part_settled(const struct watch *w, const struct tenure_part *part);
struct retry_pace watch_parts_pace(struct watch *w);

/** The last one is gone. */
void watch_stop(void);

#endif
