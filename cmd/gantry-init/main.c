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
