package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

const clients = 64

// compareCreates measures durable creates by 64 clients over HTTP, beside the
// disk's own syncs, a bare server that makes one synced transaction a request,
// and etcd.
func (b *bench) compareCreates(length time.Duration, turns int) {
	t, _ := b.startTokend(filepath.Join(b.dir, "creates"))
	defer t.stop()
	self, err := os.Executable()
	check(err)
	address := freeAddress()
	baseline := start(address, self, "baseline", filepath.Join(b.dir, "baseline")+"@"+address)
	baseline.awaitTCP()
	defer baseline.stop()
	etcd := b.startEtcd()
	if etcd != nil {
		defer etcd.stop()
	}

	var syncs, tokends, baselines, etcds []float64
	for turn := range turns {
		name := func(client int, i int64) string { return fmt.Sprintf("turn-%d-client-%d-%d", turn, client, i) }
		syncs = append(syncs, b.syncRate(length/3))
		tokends = append(tokends, load(length, creator(t, name)))
		baselines = append(baselines, load(length, poster(address, name)))
		if etcd != nil {
			etcds = append(etcds, load(length, etcd.putter(name)))
		}
	}
	own, bare := median(tokends), median(baselines)
	b.figure("fdatasync of 4 KiB, one after another", perSecond(median(syncs)), true, "")
	b.figure(fmt.Sprintf("durable creates, %d clients", clients), perSecond(own), true, "")
	b.figure("  per fdatasync of the disk", fmt.Sprintf("%.1f", own/median(syncs)), true, "")
	b.figure("bare fasthttp, one synced transaction a request", perSecond(bare), true, "")
	b.figure("  tokend to that", fmt.Sprintf("%.1f times", own/bare), own >= 3*bare, "at least 3 times")
	if etcd == nil {
		fmt.Println("etcd is not installed, so it is left out")
		return
	}
	b.figure("etcd "+etcd.version+", puts by as many clients (gRPC)", perSecond(median(etcds)), true, "")
	b.figure("  tokend to that", fmt.Sprintf("%.2f times", own/median(etcds)), own > median(etcds), "more than 1")
}

func perSecond(rate float64) string { return fmt.Sprintf("%.0f /s", rate) }

// load has all clients do one thing again and again, and gives how many they
// did in a second. Do is called with the client's number and a count.
func load(length time.Duration, do func(client int, i int64)) (rate float64) {
	var (
		done atomic.Int64
		wg   sync.WaitGroup
	)
	begin := time.Now()
	for client := range clients {
		wg.Go(func() {
			for i := int64(0); time.Since(begin) < length; i++ {
				do(client, i)
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds()
}

// creator makes tokens, each of its own name.
func creator(t *tokend, name func(int, int64) string) func(int, int64) {
	client := &fasthttp.HostClient{Addr: t.address, MaxConns: clients}
	return func(number int, i int64) {
		request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(request)
		defer fasthttp.ReleaseResponse(response)
		request.SetRequestURI("http://" + t.address + "/_/token")
		request.Header.SetMethod("POST")
		request.Header.Set("Authorization", "Bearer "+t.admin)
		request.SetBodyString(`{"name":"` + name(number, i) + `"}`)
		check(client.Do(request, response))
		expect(response, fasthttp.StatusCreated)
	}
}

// poster sends the same to the bare server.
func poster(address string, name func(int, int64) string) func(int, int64) {
	client := &fasthttp.HostClient{Addr: address, MaxConns: clients}
	return func(number int, i int64) {
		request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(request)
		defer fasthttp.ReleaseResponse(response)
		request.SetRequestURI("http://" + address + "/")
		request.Header.SetMethod("POST")
		request.SetBodyString(`{"name":"` + name(number, i) + `"}`)
		check(client.Do(request, response))
		expect(response, fasthttp.StatusOK)
	}
}

func expect(response *fasthttp.Response, status int) {
	if response.StatusCode() != status {
		check(fmt.Errorf("answer %d: %s", response.StatusCode(), response.Body()))
	}
}

// syncRate is how often a second the disk takes 4 KiB for good.
func (b *bench) syncRate(length time.Duration) float64 {
	file, err := os.Create(filepath.Join(b.dir, "sync"))
	check(err)
	defer func() { check(file.Close()) }()
	page := make([]byte, 4096)
	begin, n := time.Now(), 0
	for ; time.Since(begin) < length; n++ {
		_, err := file.WriteAt(page, int64(n%1024)*4096)
		check(err)
		check(syscall.Fdatasync(int(file.Fd())))
	}
	return float64(n) / time.Since(begin).Seconds()
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}
