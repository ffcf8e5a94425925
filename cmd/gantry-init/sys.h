/*
 * What gantry-init needs of the kernel and of C, and nothing else: it is linked without a C library, because a
 * static glibc costs every pod's reaper 0.7 MB of mapped pages where these few wrappers cost 8 KB.
 *
 * Calls return what the kernel returns: a result, or -errno. Only calls that every architecture has are used
 * (openat, not open).
 */
#ifndef GANTRY_SYS_H
#define GANTRY_SYS_H

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>

#define NULL ((void *)0)

typedef unsigned long size_t;
typedef unsigned int u32;
typedef unsigned long u64;

_Static_assert(sizeof(u64) == 8, "a 64-bit machine");

#if defined(__x86_64__)
static inline long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "teach sys.h and main.c this architecture: one system call, one entry point"
#endif

#define SYS1(nr, a) syscall6(nr, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(nr, a, b) syscall6(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(nr, a, b, c) syscall6(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(nr, a, b, c, d) syscall6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS5(nr, a, b, c, d, e) syscall6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static inline size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

/* after returns what follows prefix in s, or NULL where s does not start with it. */
static inline char *after(char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return NULL;
	return s;
}

static inline int contains(const char *s, char c)
{
	for (; *s; s++)
		if (*s == c)
			return 1;
	return 0;
}

/* quit ends the process, also where a seccomp filter does not even let it exit. */
__attribute__((noreturn)) static inline void quit(int code)
{
	SYS1(__NR_exit_group, code);
	__builtin_trap();
}

/* text is a line being put together: no allocation, and what does not fit is cut off. */
struct text {
	char buf[512];
	size_t len;
};

void put(struct text *t, const char *s);
void put_number(struct text *t, long n);

/* number reads a decimal number; -1 for anything else. */
long number(const char *s);

/* The two jobs. Both get the arguments after their name, and neither returns. */
__attribute__((noreturn)) void reap(char **argv);
__attribute__((noreturn)) void run(char **argv, char **envp);

#endif
