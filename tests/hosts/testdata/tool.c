/*
 * What busybox has no applet for, in an image of the tests:
 *
 *   tool serve NAME [DESCRIPTORS]   answers every connection on the sockets of its unit with "NAME <which socket>", until SIGTERM
 *   tool notify MESSAGE...          sends each message to $NOTIFY_SOCKET, and sleeps; "sleep N": waits N ms; "loop": sends the next 50 times a second
 *   tool ask SOCKET                 prints what a unix socket says
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static volatile sig_atomic_t over;
static void end(int sig) { (void)sig; over = 1; }

static int serve(const char *name)
{
	const char *fds = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES"), *pid = getenv("LISTEN_PID");
	int n = fds ? atoi(fds) : 0;
	struct pollfd polled[16];
	sigset_t term, none;

	printf("%s: fds=%d names=%s pid=%s", name, n, names ? names : "-", pid && atoi(pid) == getpid() ? "mine" : "wrong");
	for (int i = 0; i < n && i < 16; i++) {
		polled[i] = (struct pollfd){.fd = 3 + i, .events = POLLIN};
		printf(" %s", fcntl(3 + i, F_GETFL) & O_NONBLOCK ? "nonblocking" : "blocking");
	}
	printf(" next=%s\n", fcntl(3 + n, F_GETFD) < 0 ? "closed" : "open");
	fflush(stdout);
	sigemptyset(&none);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = end}, NULL);
	while (!over) {
		if (ppoll(polled, n, NULL, &none) < 0)
			continue;
		for (int i = 0; i < n; i++) {
			int c = polled[i].revents ? accept(3 + i, NULL, NULL) : -1;
			if (c < 0)
				continue;
			dprintf(c, "%s %d\n", name, i);
			shutdown(c, SHUT_WR);
			char buf[64];
			while (read(c, buf, sizeof(buf)) > 0)
				;
			close(c);
		}
	}
	return 0;
}

static int notify(char **messages)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	if (!path || fd < 0) {
		printf("no NOTIFY_SOCKET\n");
		return 1;
	}
	strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
	for (; *messages; messages++) {
		if (!strncmp(*messages, "sleep ", 6)) {
			usleep(1000 * atoi(*messages + 6));
			continue;
		}
		if (!strcmp(*messages, "loop") && messages[1]) {
			for (messages++;; usleep(20000))
				sendto(fd, *messages, strlen(*messages), 0, (struct sockaddr *)&to, sizeof(to));
		}
		if (sendto(fd, *messages, strlen(*messages), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			perror("notify");
	}
	printf("notified\n");
	fflush(stdout);
	pause();
	return 0;
}

static int ask(const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char buf[4096];
	ssize_t n;

	strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		perror(path);
		return 1;
	}
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, n, stdout);
	return n < 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "ask"))
		return ask(argv[2]);
	if (argc > 2 && !strcmp(argv[1], "serve"))
		return serve(argv[2]);
	if (argc > 2 && !strcmp(argv[1], "notify"))
		return notify(argv + 2);
	return 2;
}
