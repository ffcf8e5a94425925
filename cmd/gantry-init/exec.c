/*
 * The last step inside an app: everything else about the process (namespaces, mounts, user, capabilities, limits)
 * is done. This installs the seccomp filter, and becomes the app's program.
 *
 *   --seccomp-fd=N     read the filter, an array of struct sock_filter, from N; no_new_privs is set already
 *   --seccomp-flags=F  of seccomp(2)
 *   --status-fd=M      where a failure is told, as a line "CODE reason"; end of file without one: the app runs
 *   --listen-fds=K     descriptors 3 to 3+K-1 are the app's; every other is closed when the app's program starts
 *   --stderr-fd=E      becomes the program's descriptor 2, in place of one to which libcontainer's errors go
 *   --parent-death=S   the signal that the program gets when the process that started it dies (a client of enter); needs --status-fd
 *
 * It comes from a descriptor that nobody can open for writing, so that it does not matter that the app's other
 * processes can see it in /proc for a moment (CVE-2019-5736).
 */
#include "sys.h"

#include <linux/close_range.h>
#include <linux/elf.h>
#include <linux/filter.h>
#include <linux/limits.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/stat.h>
#include <linux/stat.h>

#define STDIO 3
#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define LISTEN_PID "LISTEN_PID="

/* Exit codes: those of a shell, and gantry's own. */
enum { OWN = 254, NOT_FOUND = 127, NOT_EXECUTABLE = 126 };

static long status = -1;

__attribute__((noreturn)) static void fail(int code, const char *what, const char *why)
{
	struct text t = {.len = 0};

	put_number(&t, code);
	put(&t, " ");
	put(&t, what);
	put(&t, why);
	put(&t, "\n");
	SYS3(__NR_write, status < 0 ? 2 : status, t.buf, t.len);
	quit(code);
}

__attribute__((noreturn)) static void fail_errno(const char *what, long err)
{
	struct text t = {.len = 0};

	put(&t, ": errno ");
	put_number(&t, -err);
	fail(OWN, what, t.buf);
}

/* default_signals undoes what a caller may have left ignored or blocked (nohup, IgnoreSIGPIPE of a unit): an app
 * starts alike however gantry was started. */
static void default_signals(void)
{
	static const struct sigaction standard; /* SIG_DFL */
	u64 none = 0;

	for (int sig = 1; sig <= 64; sig++)
		SYS4(__NR_rt_sigaction, sig, &standard, NULL, sizeof(none));
	SYS4(__NR_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

/* follow has the kernel send signal when the parent dies. One that died before is found out by its end of the status pipe: its process ID
 * says nothing, since it is of another PID namespace. (The program keeps the setting unless it is set-user-ID and may be that.) */
static void follow(long signal)
{
	struct pollfd reader = {.fd = status};
	struct {
		long sec, nsec;
	} now = {0, 0};
	long err = SYS5(__NR_prctl, PR_SET_PDEATHSIG, signal, 0, 0, 0);

	if (err < 0)
		fail_errno("follow the parent", err);
	SYS5(__NR_ppoll, &reader, 1, &now, NULL, 0);
	if (reader.revents & POLLERR)
		quit(OWN);
}

/* Timers are late by 50 us at most, unless somebody has chosen another slack; stage0's choice (runtime/slack.go) is for gantry's own programs. */
static void take_back_slack(void)
{
	const long usual = 50000, ours = 1000003;

	if (SYS5(__NR_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0) == ours)
		SYS5(__NR_prctl, PR_SET_TIMERSLACK, usual, 0, 0, 0);
}

static int is_null(const struct stat *st)
{
	return (st->st_mode & S_IFMT) == S_IFCHR && st->st_rdev == (1 << 8 | 3);
}

/* Streams that are the host's /dev/null become the app's: root in the app could change the mode of the host's. Not where the app has none, or may
 * not open it. */
static void own_null(void)
{
	static const char name[] = "/dev/null";
	struct stat st;

	for (int fd = 0; fd < STDIO; fd++) {
		long own;

		if (SYS2(__NR_fstat, fd, &st) < 0 || !is_null(&st))
			continue;
		if (SYS4(__NR_newfstatat, AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !is_null(&st))
			return;
		if ((own = SYS4(__NR_openat, AT_FDCWD, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0)) < 0)
			return;
		SYS3(__NR_dup3, own, fd, 0);
		SYS1(__NR_close, own);
	}
}

static void install_filter(long fd, long flags)
{
	static struct sock_filter filter[BPF_MAXINSNS];
	size_t size = 0;
	long n;

	while ((n = SYS3(__NR_read, fd, (char *)filter + size, sizeof(filter) - size)) > 0)
		size += n;
	if (n < 0)
		fail_errno("read seccomp filter", n);
	if (!size || size % sizeof(filter[0])) /* never "no filter" by accident */
		fail(OWN, "read seccomp filter", ": not a filter");

	struct sock_fprog program = {.len = size / sizeof(filter[0]), .filter = filter};
	if ((n = SYS3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program)) < 0)
		fail_errno("install seccomp filter", n);
}

/* listen_pid returns envp, with LISTEN_PID set to this process where LISTEN_FDS is there (sd_listen_fds(3)); into has
 * room for one more entry than envp. */
static char **listen_pid(char **envp, char **into, struct text *entry)
{
	int wanted = 0;
	char **out = into;

	for (char **e = envp; *e; e++)
		wanted |= after(*e, "LISTEN_FDS=") != NULL;
	if (!wanted)
		return envp;
	for (; *envp; envp++)
		if (!after(*envp, LISTEN_PID))
			*out++ = *envp;
	put(entry, LISTEN_PID);
	put_number(entry, SYS1(__NR_getpid, 0));
	*out++ = entry->buf;
	*out = NULL;
	return into;
}

/* interpreter finds what program needs to be started: the rest of its #! line, or the ELF interpreter. Empty where it
 * cannot tell. */
static void interpreter(const char *program, char *name, size_t size)
{
	union {
		char bytes[256];
		Elf64_Ehdr elf;
	} head = {.bytes = ""};
	Elf64_Phdr segment;
	long fd = SYS4(__NR_openat, AT_FDCWD, program, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	size_t n = 0;

	name[0] = '\0';
	SYS4(__NR_pread64, fd, &head, sizeof(head) - 1, 0);
	if (head.bytes[0] == '#' && head.bytes[1] == '!') {
		char *s = head.bytes + 2;
		while (*s == ' ' || *s == '\t')
			s++;
		while (*s && !contains(" \t\r\n", *s) && n < size - 1)
			name[n++] = *s++;
		name[n] = '\0';
		return;
	}
	if (!after(head.bytes, ELFMAG) || head.elf.e_ident[EI_CLASS] != ELFCLASS64)
		return;
	for (int i = 0; i < head.elf.e_phnum; i++) {
		SYS4(__NR_pread64, fd, &segment, sizeof(segment), head.elf.e_phoff + i * sizeof(segment));
		if (segment.p_type != PT_INTERP)
			continue;
		long got = SYS4(__NR_pread64, fd, name, size - 1, segment.p_offset);
		name[got > 0 ? got : 0] = '\0';
		return;
	}
}

/* explain ends the process with what a shell would exit with, and a better reason than it would give. */
__attribute__((noreturn)) static void explain(const char *program, long err)
{
	char needs[256];

	switch (-err) {
	case ENOENT:
		if (SYS3(__NR_faccessat, AT_FDCWD, program, 0) < 0)
			fail(NOT_FOUND, program, ": no such file in the image");
		interpreter(program, needs, sizeof(needs));
		struct text t = {.len = 0};
		put(&t, ": its interpreter ");
		put(&t, needs);
		put(&t, " is not in the image");
		fail(NOT_FOUND, program, t.buf);
	case ENOTDIR:
		fail(NOT_FOUND, program, ": a part of the path is not a directory");
	case EACCES:
		fail(NOT_EXECUTABLE, program, ": permission denied: not executable for this user, or a directory");
	case ENOEXEC:
		fail(NOT_EXECUTABLE, program, ": not a program for this machine, or a script without a #! line");
	case EPERM:
	case ENOSYS:
		fail(NOT_EXECUTABLE, program, ": its system call filter refuses execve");
	case ELOOP:
		fail(NOT_EXECUTABLE, program, ": its symbolic links lead in a circle");
	}
	struct text t = {.len = 0};
	put(&t, ": execve: errno ");
	put_number(&t, -err);
	fail(NOT_EXECUTABLE, program, t.buf);
}

/* search tries argv[0] in every directory of path, as execvp(3) does: one that is there and may not be executed does not
 * hide a later one. */
__attribute__((noreturn)) static void search(const char *path, char **argv, char **envp)
{
	static char found[PATH_MAX];
	int denied = 0;

	if (!argv[0][0]) /* else every directory of path would be what is found */
		fail(NOT_FOUND, "\"\"", ": the program's name is empty");
	for (;; path++) {
		char *p = found;
		size_t n = 0;
		for (; path[n] && path[n] != ':'; n++)
			;
		if (n + length(argv[0]) + 2 <= sizeof(found)) {
			for (size_t i = 0; i < n; i++)
				*p++ = path[i];
			if (n) /* an empty part is the working directory */
				*p++ = '/';
			for (char *s = argv[0]; (*p = *s); p++, s++)
				;
			long err = SYS3(__NR_execve, found, argv, envp);
			int there = SYS3(__NR_faccessat, AT_FDCWD, found, 0) == 0;
			if (err == -EACCES)
				denied |= there;
			else if (there || (err != -ENOENT && err != -ENOTDIR))
				explain(found, err);
		}
		path += n;
		if (!*path)
			break;
	}
	if (denied)
		fail(NOT_EXECUTABLE, argv[0], ": found in $PATH, but not executable for this user");
	fail(NOT_FOUND, argv[0], ": not found in $PATH");
}

void run(char **argv, char **envp)
{
	long seccomp = -1, flags = 0, listen = 0, parent_death = 0, errors = -1, err;
	const char *path = PATH_DEFAULT;
	char *value;

	for (; *argv && !(value = after(*argv, "--"), value && !*value); argv++) {
		if ((value = after(*argv, "--seccomp-fd=")))
			seccomp = number(value);
		else if ((value = after(*argv, "--seccomp-flags=")))
			flags = number(value);
		else if ((value = after(*argv, "--status-fd=")))
			status = number(value);
		else if ((value = after(*argv, "--listen-fds=")))
			listen = number(value);
		else if ((value = after(*argv, "--parent-death=")))
			parent_death = number(value);
		else if ((value = after(*argv, "--stderr-fd=")))
			errors = number(value);
		else
			fail(OWN, "unknown argument ", *argv);
	}
	if (!*argv || !*++argv || listen < 0 || parent_death < 0)
		fail(OWN, "no program", "");

	default_signals();
	take_back_slack();
	if (parent_death)
		follow(parent_death);
	int count = 0;
	for (; envp[count]; count++)
		if ((value = after(envp[count], "PATH=")))
			path = value;
	char *room[count + 2];
	struct text pid = {.len = 0};
	envp = listen_pid(envp, room, &pid);

	if (errors >= 0 && (err = SYS3(__NR_dup3, errors, 2, 0)) < 0)
		fail_errno("open stderr", err);
	own_null();
	if ((err = SYS3(__NR_close_range, STDIO + listen, ~0u, CLOSE_RANGE_CLOEXEC)) < 0)
		fail_errno("mark descriptors", err);
	if (seccomp >= 0)
		install_filter(seccomp, flags);

	if (!contains(argv[0], '/'))
		search(path, argv, envp);
	explain(argv[0], SYS3(__NR_execve, argv[0], argv, envp));
}
