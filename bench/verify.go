package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"tokend/kv"
)

// A slice is short, and the systems take turns: what else the machine does then
// falls on all of them alike.
const slice = 200 * time.Millisecond

// compareVerify measures verification beside a bare server that sends the same
// bytes, with so many tokens, for as long as each system gets.
func (b *bench) compareVerify(tokens int, length time.Duration) {
	slices := max(3, int(length/slice))
	bare := startBare()
	defer bare.stop()
	large, values := b.startLoaded("large", tokens)
	defer large.stop()

	hot, random := asker(values[:1]), asker(values)
	onHot := compareLoad(slices, aim(bare, hot), aim(large.process, hot))
	allocations := large.allocations(hot)
	onRandom := compareLoad(slices, aim(bare, random), aim(large.process, random))
	b.figure("bare fasthttp with the same bytes", fmt.Sprintf("%s, %.2f µs CPU", perSecond(onHot.bare.rate), 1e6*onHot.bare.cpu), true, "")
	b.figure("verification of a hot token", fmt.Sprintf("%s, %.2f µs CPU", perSecond(onHot.own.rate), 1e6*onHot.own.cpu), true, "")
	b.figure("  server CPU, to bare", times(onHot.cpu), onHot.cpu <= 1.15, "at most 1.15 times")
	b.figure("  rate, to bare", times(onHot.rate), onHot.rate >= 0.9, "at least 0.90 times")
	b.figure("  allocations each, all of the process", fmt.Sprintf("%.3f", allocations), allocations <= 0.05, "at most 0.05")
	b.measureRecording(time.Duration(onHot.own.cpu * 1e9))
	b.figure(fmt.Sprintf("verification of random ones of %d", tokens), fmt.Sprintf("%s, %.2f µs CPU", perSecond(onRandom.own.rate), 1e6*onRandom.own.cpu), true, "")
	b.figure("  server CPU, to bare", times(onRandom.cpu), onRandom.cpu <= 1.30, "at most 1.30 times")
	b.figure("  rate, to bare", times(onRandom.rate), onRandom.rate >= 0.8, "at least 0.80 times")

	b.measureScrape(large, tokens)
	memory := large.anonymous()
	b.figure("  memory (RssAnon)", megabytes(memory), memory <= 250e6, "250 MB")
	b.compareCreating(slices, large, random)
	b.figure("  memory (RssAnon) then", megabytes(large.anonymous()), true, "")
	small, few := b.startLoaded("small", 1000)
	defer small.stop()
	b.compareLatency(length, bare, large, random, small, few)
	b.compareRedis(slices, large, hot)
	b.compareFind(tokens, large, small)
	b.measureBackup(tokens, large)
}

func times(ratio float64) string { return fmt.Sprintf("%.2f times", ratio) }

// startBare starts the bare server.
func startBare() *process {
	self, err := os.Executable()
	check(err)
	address := freeAddress()
	p := start(address, self, "bare", address)
	p.awaitTCP()
	return p
}

// comparison is the medians of two systems under full load, and of the ratios
// of their turns.
type comparison struct {
	bare, own result
	cpu, rate float64 // own to bare
}

func compareLoad(turns int, bare, own *target) comparison {
	defer bare.close()
	defer own.close()
	var bares, owns results
	var cpu, rate []float64
	for range turns {
		one, other := bare.hammer(slice), own.hammer(slice)
		bares, owns = append(bares, one), append(owns, other)
		cpu, rate = append(cpu, other.cpu/one.cpu), append(rate, other.rate/one.rate)
	}
	return comparison{bares.median(), owns.median(), median(cpu), median(rate)}
}

type results []result

func (rs results) median() result {
	var cpu, rate []float64
	for _, r := range rs {
		cpu, rate = append(cpu, r.cpu), append(rate, r.rate)
	}
	return result{rate: median(rate), cpu: median(cpu)}
}

// compareCreating measures by how much creating tokens slows verification.
func (b *bench) compareCreating(turns int, t *tokend, next requester) {
	const creates = 500
	create := creator(t, func(_ int, i int64) string { return fmt.Sprintf("created-%09d", i) })
	verify := aim(t.process, next)
	defer verify.close()
	var ratios []float64
	created := int64(0)
	for range turns {
		alone := verify.hammer(slice)
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			ticks := time.NewTicker(time.Second / creates)
			defer ticks.Stop()
			for {
				select {
				case <-stop:
					return
				case <-ticks.C:
					create(0, created)
					created++
				}
			}
		}()
		beside := verify.hammer(slice)
		close(stop)
		<-done
		ratios = append(ratios, beside.rate/alone.rate)
	}
	b.figure(fmt.Sprintf("  rate beside %d creates a second", creates), times(median(ratios)), median(ratios) >= 0.85, "at least 0.85 times")
}

// compareLatency measures p99 at a fixed rate, of which a server uses a part
// only.
func (b *bench) compareLatency(length time.Duration, bare *process, large *tokend, random requester, small *tokend, few []string) {
	const rate = 10_000
	targets := []*target{aim(bare, random), aim(large.process, random), aim(small.process, asker(few))}
	p99 := make([][]float64, len(targets))
	for range max(3, int(length/time.Second)) {
		for i, t := range targets {
			p99[i] = append(p99[i], percentile(t.pace(time.Second, rate), 0.99).Seconds())
		}
	}
	for _, t := range targets {
		t.close()
	}
	own, ownSmall := median(p99[1]), median(p99[2])
	b.figure(fmt.Sprintf("p99 at %d a second, bare", rate), microseconds(median(p99[0])), true, "")
	b.figure("  tokend, random ones of all tokens", microseconds(own), true, "")
	b.figure("    to bare", times(own/median(p99[0])), own <= 1.3*median(p99[0]), "at most 1.30 times")
	b.figure(fmt.Sprintf("    to tokend with %d tokens", len(few)), times(own/ownSmall), own <= 1.1*ownSmall, "1 time, give or take 0.1")
}

func microseconds(seconds float64) string { return fmt.Sprintf("%.0f µs", 1e6*seconds) }

var mallocs = regexp.MustCompile(`(?m)^go_memstats_mallocs_total (\S+)$`)

// allocations is how many there are for each verification.
func (t *tokend) allocations(next requester) float64 {
	count := func() float64 {
		_, body, err := fasthttp.Get(nil, "http://"+t.address+"/metrics")
		check(err)
		n, err := strconv.ParseFloat(string(mallocs.FindSubmatch(body)[1]), 64)
		check(err)
		return n
	}
	target := aim(t.process, next)
	defer target.close()
	count() // what is only made once is made
	scrape := -count()
	scrape += count()
	before, r := count(), target.hammer(10*slice)
	return (count() - before - scrape) / (r.rate * (10 * slice).Seconds())
}

// startLoaded starts tokend with so many tokens, gives their values, and waits
// until it has them all in memory.
func (b *bench) startLoaded(name string, tokens int) (*tokend, []string) {
	data := filepath.Join(b.dir, name)
	t, _ := b.startTokend(data) // makes the keys
	t.stop()
	values := loadTokens(data, tokens)
	t, _ = b.startTokend(data)
	t.awaitFilled()
	return t, values
}

// awaitFilled waits until nothing is done in the background any more.
func (t *tokend) awaitFilled() {
	for before := time.Duration(-1); t.cpu() > before+slice/20; time.Sleep(slice) {
		before = t.cpu()
	}
}

// loadTokens makes tokens in a store that nobody serves, by its batch path, and
// gives their values.
func loadTokens(data string, tokens int) []string {
	file, err := os.ReadFile(filepath.Join(data, "master.key"))
	check(err)
	keys, err := kv.ParseMasterKeys(file)
	check(err)
	store, err := kv.Open(kv.Options{Dir: filepath.Join(data, "store"), MasterKeys: keys, MaxIndexed: tokens})
	check(err)
	const batch = 1000
	bar := progressbar.Default(int64(tokens), "loading tokens")
	values := make([]string, tokens)
	var batches errgroup.Group
	batches.SetLimit(2 * runtime.NumCPU())
	for first := 0; first < tokens; first += batch {
		batches.Go(func() error {
			specs := make([]kv.NewToken, min(batch, tokens-first))
			for i := range specs {
				specs[i].Spec = kv.Spec{
					Name: fmt.Sprintf("token-%09d", first+i), Active: true, Write: true,
					ExpiresAt: time.Now().Add(24*time.Hour + time.Duration(first+i)*time.Minute), // the census keeps each
				}
			}
			all, err := store.CreateAll(context.Background(), specs)
			for i, created := range all {
				values[first+i] = created.Value.Reveal()
			}
			_ = bar.Add(len(all))
			return err
		})
	}
	check(batches.Wait())
	check(store.Close())
	return values
}

// asker asks about tokens chosen at random.
func asker(values []string) requester {
	const head = "GET /_/token/verify HTTP/1.1\r\nHost: 127.0.0.1:8470\r\nUser-Agent: bench\r\nAuthorization: Bearer "
	var (
		random   [clients]*rand.Rand
		requests [clients][]byte
	)
	for i := range clients {
		random[i] = rand.New(rand.NewPCG(1, uint64(i)))
		requests[i] = []byte(head + strings.Repeat("x", len(values[0])) + "\r\n\r\n")
	}
	return func(client int) []byte {
		copy(requests[client][len(head):], values[random[client].IntN(len(values))])
		return requests[client]
	}
}
