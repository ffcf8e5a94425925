/*
 * gantry-init: the two moments in a pod's life that are too small for Go.
 *
 *   gantry-init reap --supervisor-fd=N [--hostname=H] [--ready-fd=M]      PID 1 of the pod's PID namespace: see reap.c
 *   gantry-init exec [--status-fd=M] [--seccomp-fd=N] ... -- PROGRAM ...   last step inside each app: see exec.c
 */
#include "sys.h"

#if defined(__x86_64__)
__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call entry\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n"
	"_start:\n"
	"	mov x29, #0\n"
	"	mov x0, sp\n"
	"	bl entry\n");
#endif

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

/* entry gets the stack as the kernel left it: argc, the arguments, NULL, the environment, NULL. */
__attribute__((noreturn, used)) void entry(long *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);
	char **envp = argv + argc + 1;
	char *rest;

	if (argc > 1 && (rest = after(argv[1], "reap")) && !*rest)
		reap(argv + 2);
	if (argc > 1 && (rest = after(argv[1], "exec")) && !*rest)
		run(argv + 2, envp);

	static const char usage[] = "gantry-init: a part of gantry, not to be called by hand\n";
	SYS3(__NR_write, 2, usage, sizeof(usage) - 1);
	quit(254);
}
