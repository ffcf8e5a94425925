/*
 * web: all that is in the demo's image. One static program, two jobs:
 *
 *	web serve PORT       answer every HTTP request with one line, until SIGTERM
 *	web ask PORT N       ask 127.0.0.1:PORT N times, once a second, and print the answers
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void stop(int sig)
{
	(void)sig;
	static const char bye[] = "asked to stop: bye\n";
	_exit(write(1, bye, sizeof bye - 1) < 0);
}

static struct sockaddr_in address(const char *port, in_addr_t host)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	a.sin_addr.s_addr = htonl(host);
	return a;
}

static int die(const char *what)
{
	fprintf(stderr, "web: %s: %s\n", what, strerror(errno));
	return 1;
}

static void answer(int c, int n, const char *host)
{
	char request[2048], body[256], reply[512];

	if (read(c, request, sizeof request) < 0)
		return;
	int len = snprintf(body, sizeof body, "answer %d from host %s\n", n, host);
	int size = snprintf(reply, sizeof reply,
		"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len, body);
	if (write(c, reply, size) == size)
		printf("request %d answered\n", n);
}

static int serve(const char *port)
{
	char host[65] = "";
	int on = 1, s = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = address(port, INADDR_ANY);

	signal(SIGTERM, stop);
	gethostname(host, sizeof host - 1);
	if (s < 0 || setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
		return die("socket");
	if (bind(s, (struct sockaddr *)&a, sizeof a) < 0 || listen(s, 16) < 0)
		return die("listen");
	printf("serving on port %s\n", port);
	for (int n = 1;; n++) {
		int c = accept(s, NULL, NULL);
		if (c < 0)
			return die("accept");
		answer(c, n, host);
		close(c);
	}
}

/* Prints the body of the answer; 0 where there was one. */
static int ask(const char *port)
{
	static const char get[] = "GET / HTTP/1.0\r\n\r\n";
	char reply[1024];
	size_t have = 0;
	ssize_t n;
	struct sockaddr_in a = address(port, INADDR_LOOPBACK);
	int s = socket(AF_INET, SOCK_STREAM, 0);

	if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof a) < 0 || write(s, get, sizeof get - 1) < 0) {
		close(s);
		return -1;
	}
	while ((n = read(s, reply + have, sizeof reply - 1 - have)) > 0)
		have += n;
	close(s);
	reply[have] = 0;
	char *body = strstr(reply, "\r\n\r\n");
	if (!body)
		return -1;
	printf("the server says: %s", body + 4);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(argv[2]);
	if (argc == 4 && strcmp(argv[1], "ask") == 0) {
		signal(SIGTERM, stop);
		for (int left = atoi(argv[3]); left > 0; left--) {
			while (ask(argv[2]) < 0)
				usleep(20000); /* the server is starting */
			sleep(1);
		}
		return 0;
	}
	fprintf(stderr, "usage: web serve PORT | web ask PORT TIMES\n");
	return 2;
}
