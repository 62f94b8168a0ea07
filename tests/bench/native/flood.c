/* Varlink calls to one Unix socket, at a rate, from many processes (https://varlink.org/Method-Call).
 *
 *     flood SOCKET METHOD PROCESSES RATE
 *
 * Each process has one connection and asks for its share of RATE calls a second, every 10 ms; what
 * the socket does not take is not sent, and so not answered. Ends on SIGTERM, and prints how many
 * calls were due, sent and answered. Answers are read and thrown away.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct counters {
    uint64_t due, sent, answered;
};

static volatile sig_atomic_t ended;

static void end(int number) {
    (void)number;
    ended = 1;
}

static int connected(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int one = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (one < 0 || connect(one, (struct sockaddr *)&address, sizeof address) < 0) {
        perror(path);
        exit(1);
    }
    fcntl(one, F_SETFL, O_NONBLOCK);
    return one;
}

static void flood(const char *path, const char *call, size_t length, double rate,
                  struct counters *counters) {
    static char answers[1 << 16];
    struct timespec pause = {0, 10 * 1000 * 1000};
    int one = connected(path);
    size_t part = 0; /* bytes of the first call that are sent already */
    double due = 0;
    while (!ended) {
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        due += rate / 100;
        for (; due >= 1; due--) {
            counters->due++;
            ssize_t sent = send(one, call + part, length - part, MSG_NOSIGNAL);
            if (sent < 0)
                continue; /* held back: this call is given up */
            part = (part + (size_t)sent) % length;
            counters->sent += part == 0;
        }
        ssize_t got;
        while ((got = recv(one, answers, sizeof answers, 0)) > 0)
            for (char *at = answers; (at = memchr(at, 0, (size_t)(answers + got - at))); at++)
                counters->answered++;
        if (got == 0) {
            close(one);
            one = connected(path);
            part = 0;
        }
    }
}

int main(int count, char **given) {
    if (count != 5) {
        fprintf(stderr, "flood SOCKET METHOD PROCESSES RATE\n");
        return 64;
    }
    int processes = atoi(given[3]);
    double rate = atof(given[4]) / processes;
    char call[256];
    int length = snprintf(call, sizeof call, "{\"method\":\"%s\"}", given[2]) + 1;
    struct counters *counters = mmap(NULL, (size_t)processes * sizeof *counters,
                                     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    signal(SIGTERM, end);
    for (int each = 0; each < processes; each++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            flood(given[1], call, (size_t)length, rate, counters + each);
            return 0;
        }
    while (!ended)
        pause();
    kill(0, SIGTERM);
    while (wait(NULL) > 0)
        ;
    struct counters all = {0, 0, 0};
    for (int each = 0; each < processes; each++) {
        all.due += counters[each].due;
        all.sent += counters[each].sent;
        all.answered += counters[each].answered;
    }
    printf("%lu %lu %lu\n", all.due, all.sent, all.answered);
    return 0;
}
