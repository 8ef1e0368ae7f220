package main

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// measureStore measures memory and start-up, empty and full.
func (b *bench) measureStore(tokens int) {
	full := fmt.Sprintf("%d tokens", tokens)
	b.startTimes("ready, first start", func(i int) string { return filepath.Join(b.dir, fmt.Sprint("fresh-", i)) })

	data := filepath.Join(b.dir, "store")
	t, _ := b.startTokend(data)
	fresh := t.anonymous()
	b.figure("memory (RssAnon), fresh", megabytes(fresh), fresh <= 40e6, "40 MB")
	begin := time.Now()
	fill(t, tokens)
	filled := t.anonymous()
	b.figure("memory (RssAnon), after creating "+full, megabytes(filled), filled <= 120e6, "120 MB")
	fmt.Printf("  created in %v\n", time.Since(begin).Round(time.Millisecond))

	grown, bytes, took := listGrowth(t)
	b.figure("  grown while it streams a list of them", megabytes(grown), grown < 20e6, "20 MB")
	fmt.Printf("  %s in %v\n", megabytes(bytes), took.Round(time.Millisecond))

	t.kill()
	t, took = b.startTokend(data)
	b.readyFigure("ready, "+full+", after kill -9", took)
	t.stop()
	b.startTimes("ready, "+full, func(int) string { return data })
}

// startTimes measures the time from the start of the process to its first ready
// answer.
func (b *bench) startTimes(name string, data func(i int) string) {
	var times []time.Duration
	for i := range 5 {
		t, took := b.startTokend(data(i))
		t.stop()
		times = append(times, took)
	}
	b.readyFigure(name, median(times))
}

func (b *bench) readyFigure(name string, took time.Duration) {
	b.figure(name, took.Round(time.Millisecond).String(), took <= 150*time.Millisecond, "150ms")
}

// fill creates so many tokens over HTTP, by all clients.
func fill(t *tokend, tokens int) {
	create := creator(t, func(_ int, i int64) string { return fmt.Sprintf("token-%09d", i) })
	var (
		next atomic.Int64
		wg   sync.WaitGroup
	)
	for client := range clients {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(tokens); i = next.Add(1) {
				create(client, i)
			}
		})
	}
	wg.Wait()
}

// listGrowth reads the whole list and gives by how much the server's memory
// rose above where it was before, at its highest.
func listGrowth(t *tokend) (grown, bytes int64, took time.Duration) {
	before := t.anonymous()
	r, err := http.NewRequest(http.MethodGet, "http://"+t.address+"/_/token", nil)
	check(err)
	r.Header.Set("Authorization", "Bearer "+t.admin)
	begin := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		response, err := http.DefaultClient.Do(r)
		check(err)
		bytes, err = io.Copy(io.Discard, response.Body)
		check(err)
		check(response.Body.Close())
	}()
	highest := before
	for {
		select {
		case <-done:
			return max(highest, t.anonymous()) - before, bytes, time.Since(begin)
		case <-time.After(2 * time.Millisecond):
			highest = max(highest, t.anonymous())
		}
	}
}
