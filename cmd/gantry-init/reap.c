/*
 * The reaper: PID 1 of a pod's PID namespace. It does two things until it dies: it collects the processes that
 * lost their parents, and it exits when the supervisor dies, whereupon the kernel kills everything in the pod.
 *
 * It learns of that death from a pidfd. PR_SET_PDEATHSIG would follow the thread of the supervisor that started
 * it, not the process; the other end of a pipe would leak into children, or close when the supervisor executes
 * itself anew.
 *
 * It is made worthless to who breaks into it: no capability, no descriptor but two, not dumpable (so that
 * /proc/1/exe, a host file, cannot be reached from the pod), never a new privilege. The kernel itself drops every signal that
 * its own namespace sends it, SIGKILL included. Only in the host's PID namespace, where apps are processes of the host anyway, it
 * keeps what it takes to end them.
 */
#include "sys.h"

#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <asm/poll.h>
#include <asm/siginfo.h>
#include <asm/signal.h>

#define SIGNALFD_SIZE 128 /* struct signalfd_siginfo */
#define WNOHANG 1

/* Where the two descriptors that stay are moved to. */
enum { SUPERVISOR, SIGNALS };

/* finish says how the start went, to who waits on the ready descriptor; err is 0 or -errno. */
static void finish(long fd, const char *step, long err)
{
	struct text t = {.len = 0};

	if (err < 0) {
		put(&t, "error: ");
		put(&t, step);
		put(&t, ": errno ");
		put_number(&t, -err);
		put(&t, "\n");
	} else {
		put(&t, "ready\n");
	}
	if (fd >= 0)
		SYS3(__NR_write, fd, t.buf, t.len);
	else if (err < 0)
		SYS3(__NR_write, 2, t.buf, t.len);
	if (err < 0)
		quit(254);
}

/* disarm gives up everything that the reaper does not need. */
static long disarm(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}, {0, 0, 0}};
	long err;

	for (int cap = 0;; cap++) {
		err = SYS5(__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
		if (err == -EINVAL && cap > 0)
			break; /* past the last capability that this kernel knows */
		if (err < 0)
			return err;
	}
	if ((err = SYS2(__NR_capset, &header, none)) < 0)
		return err;
	if ((err = SYS5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) < 0)
		return err;
	return SYS5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* become_root takes on user and group 0 of a user namespace, in place of those of the host, which it does not know. */
static long become_root(void)
{
	long err;

	if ((err = SYS2(__NR_setgroups, 0, NULL)) < 0)
		return err;
	if ((err = SYS3(__NR_setresgid, 0, 0, 0)) < 0)
		return err;
	return SYS3(__NR_setresuid, 0, 0, 0);
}

/* move_in goes on as PID 1 of a PID namespace that belongs to the user namespace users: the kernel makes one in that of who asks, and lets
 * only a process of one thread join one. Its parent is the supervisor still, which reads from born its number, or what
 * went wrong. */
static void move_in(long users, long born)
{
	struct text t = {.len = 0};
	long err = SYS2(__NR_setns, users, CLONE_NEWUSER);

	if (err < 0)
		finish(born, "join user namespace", err);
	if ((err = become_root()) < 0)
		finish(born, "become root of the user namespace", err);
	if ((err = SYS5(__NR_clone, CLONE_NEWPID | CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)) < 0)
		finish(born, "make PID namespace", err);
	if (!err)
		return;
	put_number(&t, err);
	SYS3(__NR_write, born, t.buf, t.len);
	quit(0);
}

/*
 * In the host's PID namespace no process dies with the reaper: there it starts a program that kills them, with the pod's directory and lock
 * as the descriptors that stage1's programs expect. Until then nobody is told by the lock that the pod is over. Signals stay blocked,
 * and a program that one ended is started again: systemd sends SIGTERM to what it finds in the unit of a supervisor that died.
 */
struct avenger {
	long program, dir, lock; /* -1: none */
	char **argv;
};

__attribute__((noreturn)) static void avenge(const struct avenger *a)
{
	char *none[] = {NULL};

	SYS3(__NR_dup3, a->dir, 3, 0);
	SYS3(__NR_dup3, a->lock, 4, 0);
	for (int i = 0; i < 100; i++) {
		int status = -1;
		long pid = SYS5(__NR_clone, SIGCHLD, 0, 0, 0, 0);

		if (!pid) {
			SYS5(__NR_execveat, a->program, "", a->argv, none, AT_EMPTY_PATH);
			quit(254);
		}
		while (pid > 0 && SYS4(__NR_wait4, pid, &status, 0, NULL) == -EINTR)
			;
		if (!status)
			quit(0);
	}
	quit(254);
}

/* watch reaps until the supervisor is dead. */
__attribute__((noreturn)) static void watch(const struct avenger *avenger)
{
	struct pollfd fds[] = {
		{.fd = SUPERVISOR, .events = POLLIN},
		{.fd = SIGNALS, .events = POLLIN},
	};
	char drain[8 * SIGNALFD_SIZE];

	for (;;) {
		SYS5(__NR_ppoll, fds, 2, NULL, NULL, 0);
		if (fds[0].revents && avenger->program >= 0)
			avenge(avenger);
		if (fds[0].revents)
			quit(0);
		if (fds[1].revents)
			SYS3(__NR_read, SIGNALS, drain, sizeof(drain));
		while (SYS4(__NR_wait4, -1, NULL, WNOHANG, NULL) > 0)
			;
	}
}

void reap(char **argv)
{
	long supervisor = -1, ready = -1, users = -1, born = -1, err;
	u64 all = ~0ul, child = 1ul << (SIGCHLD - 1);
	char *hostname = NULL, *value;
	struct avenger avenger = {-1, -1, -1, NULL};
	int become = 0, network = 0;

	for (; *argv && !((value = after(*argv, "--")) && !*value); argv++) {
		if ((value = after(*argv, "--avenger-fd=")))
			avenger.program = number(value);
		else if ((value = after(*argv, "--dir-fd=")))
			avenger.dir = number(value);
		else if ((value = after(*argv, "--lock-fd=")))
			avenger.lock = number(value);
		else if ((value = after(*argv, "--become-root")))
			become = 1;
		else if ((value = after(*argv, "--unshare-net")))
			network = 1;
		else if ((value = after(*argv, "--users-fd=")))
			users = number(value);
		else if ((value = after(*argv, "--born-fd=")))
			born = number(value);
		else if ((value = after(*argv, "--supervisor-fd=")))
			supervisor = number(value);
		else if ((value = after(*argv, "--ready-fd=")))
			ready = number(value);
		else if ((value = after(*argv, "--hostname=")))
			hostname = value;
		else
			finish(ready, *argv, -EINVAL);
	}
	if (avenger.program >= 0) {
		if (avenger.dir < 5 || avenger.lock < 5 || !*argv || !argv[1])
			finish(ready, "--avenger-fd", -EINVAL);
		avenger.argv = argv + 1;
	}
	if (supervisor < 0)
		finish(ready, "--supervisor-fd", -EBADF);
	if ((ready >= 0 && ready <= SIGNALS) || ready == supervisor)
		finish(-1, "--ready-fd", -EINVAL);

	SYS4(__NR_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof(all));
	if (users >= 0)
		move_in(users, born);
	SYS1(__NR_setsid, 0); /* the terminal's signals are for the supervisor; fails where a session was made already */
	SYS1(__NR_chdir, "/");
	if (become && (err = become_root()) < 0)
		finish(ready, "become root of the user namespace", err);
	if (network && (err = SYS1(__NR_unshare, CLONE_NEWNET)) < 0)
		finish(ready, "make network namespace", err);
	if (hostname && (err = SYS2(__NR_sethostname, hostname, length(hostname))) < 0)
		finish(ready, "set hostname", err);
	if (avenger.program < 0 && (err = disarm()) < 0)
		finish(ready, "drop privileges", err);

	if (supervisor != SUPERVISOR && (err = SYS3(__NR_dup3, supervisor, SUPERVISOR, 0)) < 0)
		finish(ready, "keep supervisor's descriptor", err);
	SYS1(__NR_close, SIGNALS);
	if ((err = SYS4(__NR_signalfd4, -1, &child, sizeof(child), 0)) != SIGNALS)
		finish(ready, "signalfd", err < 0 ? err : -EBADF);
	if (avenger.program < 0) {
		if (ready > SIGNALS + 1)
			SYS3(__NR_close_range, SIGNALS + 1, ready - 1, 0);
		SYS3(__NR_close_range, (ready < 0 ? SIGNALS : ready) + 1, ~0u, 0);
	} else {
		SYS5(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
		SYS1(__NR_close, supervisor);
	}
	finish(ready, "", 0);
	if (ready >= 0)
		SYS1(__NR_close, ready);
	watch(&avenger);
}
