/* Text without a C library: lines put together for the supervisor and for people, and numbers read from arguments. */
#include "sys.h"

void put(struct text *t, const char *s)
{
	while (*s && t->len < sizeof(t->buf) - 1)
		t->buf[t->len++] = *s++;
	t->buf[t->len] = '\0';
}

void put_number(struct text *t, long n)
{
	char digits[21];
	int i = sizeof(digits) - 1;

	digits[i] = '\0';
	if (n < 0) {
		put(t, "-");
		n = -n;
	}
	do
		digits[--i] = '0' + n % 10;
	while (n /= 10);
	put(t, digits + i);
}

long number(const char *s)
{
	long n = 0;

	if (!*s)
		return -1;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || n > 0xffffff)
			return -1;
		n = n * 10 + (*s - '0');
	}
	return n;
}
