/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small things every room needs: bounds that cannot wrap, alignment, errors that carry a sentence,
 * monotonic time, randomness. No state, no thread.
 */
#ifndef LEASEHOLD_UTIL_H
#define LEASEHOLD_UTIL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef NDEBUG
#error "Leasehold asserts its invariants in every build: do not define NDEBUG"
#endif

#define MUST_CHECK	  __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define ARRAY_SIZE(a)	  (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/** True if [off, off + len) lies inside [0, limit). Never wraps. All in the same unit. */
static inline bool range_ok(uint64_t off, uint64_t len, uint64_t limit)
{
	return len <= limit && off <= limit - len;
}

/** True if [a, a + alen) and [b, b + blen) share a byte. Ends saturate, never wrap. */
static inline bool range_overlaps(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	if (alen == 0 || blen == 0)
		return false;
	return a < b ? b - a < alen : a - b < blen;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/** Rounds down or up to a multiple of `to`, a power of two. */
static inline uint64_t align_down(uint64_t v, uint64_t to)
{
	return v & ~(to - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}

static inline bool is_pow2(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

#define ERRTEXT_BYTES 1024

/** One sentence for a person: what went wrong, where, and what to do. */
struct errtext {
	char text[ERRTEXT_BYTES];
};

/**
 * Writes the sentence (cut off if too long) and returns `err`; `e` may be NULL. What it quotes is
 * made plain (util/text.h), for it goes to logs, terminals and JSON.
 */
int errtext_set(struct errtext *e, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/** Nanoseconds of CLOCK_MONOTONIC. */
uint64_t now_ns(void);

/** Fills `buf` from the kernel's generator; does not fail (aborts if the kernel has none). */
void random_bytes(void *buf, size_t len);

#define UUID_TEXT_BYTES 37

/** Writes the 36-character text of a 16-byte UUID and a NUL. */
void uuid_format(const uint8_t uuid[16], char text[UUID_TEXT_BYTES]);

/** Parses 8-4-4-4-12 hex digits. Returns 0 or -EINVAL. */
MUST_CHECK int uuid_parse(const char *text, uint8_t uuid[16]);

/** A random version-4 UUID. */
void uuid_random(uint8_t uuid[16]);

/**
 * Parses a size for a person: "4096", "64k", "2M", "1GiB", "1.5G" is refused. Suffixes k, M, G, T
 * are powers of 1,024, with or without "iB" or "B". Returns 0 or -EINVAL, -ERANGE.
 */
MUST_CHECK int size_parse(const char *text, uint64_t *bytes);

/** Writes all of `len` bytes to a file descriptor, past EINTR. 0 or -errno. */
MUST_CHECK int write_full(int fd, const void *buf, size_t len);

#endif
