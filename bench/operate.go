package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// compareFind measures what finding a hundred tokens by their prefix takes among
// many, among few, and what all of the many take.
func (b *bench) compareFind(many int, large, small *tokend) {
	const hundred = "/_/token?prefix=token-0000001" // the loaded ones have nine digits
	var inLarge, inSmall []time.Duration
	for range 101 {
		inLarge = append(inLarge, large.list(hundred, 100))
		inSmall = append(inSmall, small.list(hundred, 100))
	}
	ratio := float64(median(inLarge)) / float64(median(inSmall))
	b.figure("list of 100 by prefix, of 1000 tokens", median(inSmall).Round(time.Microsecond).String(), true, "")
	b.figure(fmt.Sprintf("  of %d tokens", many), median(inLarge).Round(time.Microsecond).String(), true, "")
	b.figure("    to that of 1000", times(ratio), ratio <= 2, "at most 2 times")
	b.figure(fmt.Sprintf("  list of all of %d", many), large.list("/_/token", many).Round(time.Millisecond).String(), true, "")
}

// list reads a list of at least so many tokens and gives the time it takes.
func (t *tokend) list(target string, tokens int) time.Duration {
	r, err := http.NewRequest(http.MethodGet, "http://"+t.address+target, nil)
	check(err)
	r.Header.Set("Authorization", "Bearer "+t.admin)
	begin := time.Now()
	response, err := http.DefaultClient.Do(r)
	check(err)
	bytes, err := io.Copy(io.Discard, response.Body)
	check(err)
	took := time.Since(begin)
	check(response.Body.Close())
	const shortest = int64(len(`{"name":"token-000000000","active":true}`))
	if response.StatusCode != http.StatusOK || bytes < shortest*int64(tokens) {
		log.Fatalf("%s: %s, %d bytes", target, response.Status, bytes)
	}
	return took
}

// measureImport imports tokens with values from elsewhere, by the command.
func (b *bench) measureImport(tokens int) {
	t, _ := b.startTokend(filepath.Join(b.dir, "import"))
	defer t.stop()
	path := filepath.Join(b.dir, "tokens.jsonl")
	file, err := os.Create(path)
	check(err)
	out := bufio.NewWriter(file)
	for i := range tokens {
		_, err := fmt.Fprintf(out, `{"name":"imported-%09d","token":"a-value-from-elsewhere-%09d","write":false}`+"\n", i, i)
		check(err)
	}
	check(out.Flush())
	check(file.Close())
	importing := exec.Command(b.binary, "import", "--addr", "http://"+t.address, "--admin-token-file", filepath.Join(t.data, "admin.token"), path)
	importing.Stderr = os.Stderr
	begin := time.Now()
	check(importing.Run())
	rate := float64(tokens) / time.Since(begin).Seconds()
	b.figure(fmt.Sprintf("import of %d tokens by tokend import", tokens), perSecond(rate), rate >= 20_000, "at least 20,000 /s")
}

// measureBackup takes a backup of a server, makes a store of it and checks that, each by
// its command.
func (b *bench) measureBackup(tokens int, t *tokend) {
	backup, restored := filepath.Join(b.dir, "tokens.backup"), filepath.Join(b.dir, "restored")
	key := filepath.Join(t.data, "master.key")
	timed := func(args ...string) time.Duration {
		cmd := exec.Command(b.binary, args...)
		begin := time.Now()
		if output, err := cmd.CombinedOutput(); err != nil {
			log.Fatalf("%s: %v\n%s", cmd, err, output)
		}
		return time.Since(begin).Round(10 * time.Millisecond)
	}
	took := timed("backup", "--addr", "http://"+t.address, "--admin-token-file", filepath.Join(t.data, "admin.token"), backup)
	info, err := os.Stat(backup)
	check(err)
	b.figure(fmt.Sprintf("backup of %d tokens, %s", tokens, megabytes(info.Size())), took.String(), true, "")
	took = timed("restore", "--data-dir", restored, "--master-key-file", key, backup)
	b.figure("  restoring it", took.String(), took < time.Minute, "1m")
	b.figure("  checking what came of it", timed("check", "--data-dir", restored, "--master-key-file", key).String(), true, "")
}
