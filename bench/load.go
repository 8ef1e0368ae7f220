package main

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// requester gives the bytes of a client's next request. They are good until the
// next call for the same client.
type requester func(client int) []byte

// target is a server and what its clients ask of it, each on a connection of
// its own.
type target struct {
	*process
	connections [clients]*connection
	next        requester
}

func aim(p *process, next requester) *target {
	t := &target{process: p, next: next}
	for i := range t.connections {
		c, err := net.Dial("tcp", p.address)
		check(err)
		t.connections[i] = &connection{Conn: c}
		t.connections[i].ask(next(i)) // a server may not wait long for the first request
	}
	return t
}

func (t *target) close() {
	for _, c := range t.connections {
		check(c.Close())
	}
}

// result is what a server did under full load.
type result struct {
	rate float64 // requests a second
	cpu  float64 // of the server, seconds a request
}

// hammer has all clients send requests as fast as they are answered.
func (t *target) hammer(length time.Duration) result {
	var (
		wg     sync.WaitGroup
		counts [clients]int
	)
	before, begin := t.cpu(), time.Now()
	for client, c := range t.connections {
		wg.Go(func() {
			for time.Since(begin) < length {
				c.ask(t.next(client))
				counts[client]++
			}
		})
	}
	wg.Wait()
	took, spent := time.Since(begin), t.cpu()-before
	total := 0
	for _, n := range counts {
		total += n
	}
	return result{rate: float64(total) / took.Seconds(), cpu: spent.Seconds() / float64(total)}
}

// pace sends requests at a fixed rate whether or not the ones before are
// answered in time, and gives the latencies, counted from when each was due: a
// stall counts against every request that it delays.
func (t *target) pace(length time.Duration, rate int) []time.Duration {
	var (
		wg        sync.WaitGroup
		latencies [clients][]time.Duration
	)
	interval := time.Second * clients / time.Duration(rate)
	begin := time.Now().Add(10 * time.Millisecond)
	for client, c := range t.connections {
		wg.Go(func() {
			due := begin.Add(interval * time.Duration(client) / clients)
			for ; due.Sub(begin) < length; due = due.Add(interval) {
				time.Sleep(time.Until(due))
				c.ask(t.next(client))
				latencies[client] = append(latencies[client], time.Since(due))
			}
		})
	}
	wg.Wait()
	return slices.Concat(latencies[:]...)
}

func percentile(latencies []time.Duration, p float64) time.Duration {
	slices.Sort(latencies)
	return latencies[int(float64(len(latencies)-1)*p)]
}

// connection is a client's connection that costs as little as it can: the bench
// shares the machine with what it measures.
type connection struct {
	net.Conn
	buffer [4096]byte
}

// ask sends a request and reads its answer, which must be 200 and fit a read or
// two.
func (c *connection) ask(request []byte) {
	_, err := c.Write(request)
	check(err)
	have := 0
	for {
		n, err := c.Read(c.buffer[have:])
		check(err)
		have += n
		if isWhole(c.buffer[:have]) {
			break
		}
	}
	if !bytes.HasPrefix(c.buffer[:have], []byte("HTTP/1.1 200 ")) {
		check(fmt.Errorf("answer: %s", c.buffer[:have]))
	}
}

// isWhole reports whether an answer has come with all of its body.
func isWhole(answer []byte) bool {
	header, body, found := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !found {
		return false
	}
	_, rest, found := bytes.Cut(header, []byte("Content-Length: "))
	length := 0
	for _, digit := range rest {
		if digit < '0' || digit > '9' {
			break
		}
		length = 10*length + int(digit-'0')
	}
	return found && len(body) >= length
}

// cpu is the time that the process has spent on a CPU, in all its threads.
func (p *process) cpu() time.Duration {
	// The kernel's id of another process's CPU clock: MAKE_PROCESS_CPUCLOCK in
	// include/linux/posix-timers.h.
	const sched = 2
	clock := int32(^p.cmd.Process.Pid)<<3 | sched
	var spent unix.Timespec
	check(unix.ClockGettime(clock, &spent))
	return time.Duration(spent.Nano())
}
