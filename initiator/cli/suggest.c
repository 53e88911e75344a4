// SPDX-License-Identifier: BSD-3-Clause
/* The nearest word by edits (insert, delete, replace, swap of neighbours). Pure. */
#include "cli/suggest.h"

#include <string.h>

#define WORD_MAX 24

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int m = a < b ? a : b;

	return m < c ? m : c;
}

static unsigned int distance(const char *a, const char *b)
{
	unsigned int rows[WORD_MAX + 1][WORD_MAX + 1];
	const size_t n = strlen(a), m = strlen(b);

	if (n > WORD_MAX || m > WORD_MAX)
		return WORD_MAX;
	for (size_t i = 0; i <= n; i++)
		rows[i][0] = (unsigned int)i;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			rows[i][j] = min3(rows[i - 1][j] + 1, rows[i][j - 1] + 1,
					  rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				rows[i][j] = min3(rows[i][j], rows[i - 2][j - 2] + 1, WORD_MAX);
		}
	}
	return rows[n][m];
}

const char *suggest(const char *text, const char *const words[], size_t count)
{
	const char *best = NULL;
	unsigned int least = 3; /* more edits than two are another word */

	for (size_t i = 0; i < count; i++) {
		unsigned int d = distance(text, words[i]);

		if (d < least && d < strlen(words[i])) {
			least = d;
			best = words[i];
		}
	}
	return best;
}
