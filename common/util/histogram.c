// SPDX-License-Identifier: BSD-3-Clause
/* Histograms of times. Registration happens before main(), on one thread. */
#include "util/histogram.h"

static struct histogram *first;

#define US(n) ((n) * NS_PER_US)
#define MS(n) ((n) * NS_PER_MS)
#define S(n)  ((n) * NS_PER_S)

const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS] = {
	US(10),		 US(25), US(50),	 US(100), US(250), US(500), MS(1),
	MS(2) + US(500), MS(5),	 MS(10),	 MS(25),  MS(50),  MS(100), MS(250),
	MS(500),	 S(1),	 S(2) + MS(500), S(5),	  S(10),   S(25),   S(60),
};

void histogram_register(struct histogram *h)
{
	h->next = first;
	first = h;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	unsigned int i = 0;

	while (i < HISTOGRAM_BOUNDS && ns > histogram_bounds_ns[i])
		i++;
	atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
}

uint64_t histogram_count(const struct histogram *h)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i <= HISTOGRAM_BOUNDS; i++)
		n += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
	return n;
}

uint64_t histogram_at(const struct histogram *h, double part)
{
	const uint64_t all = histogram_count(h);
	uint64_t n = 0;

	for (unsigned int i = 0; i < HISTOGRAM_BOUNDS && all > 0; i++) {
		n += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
		if (n > 0 && (double)n >= part * (double)all)
			return histogram_bounds_ns[i];
	}
	return all ? UINT64_MAX : 0;
}

const struct histogram *histogram_first(void)
{
	return first;
}
