package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"tokend/kv"
)

// compareBefore measures this build beside one of before, in several starts of each: what a
// start has by chance, as where its memory lies, falls on either. Within a start the two take
// turns, and ratios of turns are compared.
func (b *bench) compareBefore(before string, tokens, starts int, length time.Duration) {
	builds := []*build{{name: "before", binary: before}, {name: "now", binary: b.binary}}
	values := make([]string, tokens)
	for i := range values {
		values[i] = kv.NewValue("tkd").Reveal()
	}
	for _, build := range builds {
		b.importInto(build, values)
	}
	ratios := map[string][]float64{}
	add := func(figure string, ratio float64) { ratios[figure] = append(ratios[figure], ratio) }
	for start := range starts {
		if start%2 == 1 { // nobody is always the first
			slices.Reverse(builds)
		}
		for _, build := range builds {
			build.tokend = b.startFilled(build)
		}
		old, now := builds[0], builds[1]
		if old.name == "now" {
			old, now = now, old
		}
		for what, next := range map[string]requester{"hot token": asker(values[:1]), "random tokens": asker(values)} {
			c := compareLoad(max(3, int(length/slice)), aim(old.process, next), aim(now.process, next))
			add("verification, "+what+": CPU", c.cpu)
			add("verification, "+what+": rate", c.rate)
		}
		add("memory (RssAnon)", float64(now.anonymous())/float64(old.anonymous()))
		var rates [2][]float64
		for turn := range 4 {
			for i, build := range []*build{old, now} {
				rates[i] = append(rates[i], load(length/4, creator(build.tokend, func(client int, n int64) string {
					return fmt.Sprintf("start-%d-turn-%d-client-%d-%d", start, turn, client, n)
				})))
			}
		}
		add("durable creates: rate", median(rates[1])/median(rates[0]))
		for _, build := range builds {
			build.stop()
		}
	}
	b.reportRatios(ratios)
}

// reportRatios prints what starts gave, beside the limits.
func (b *bench) reportRatios(ratios map[string][]float64) {
	for _, f := range []struct {
		name    string
		isRate  bool
		limited bool
	}{
		{"verification, hot token: CPU", false, true}, {"verification, hot token: rate", true, false},
		{"verification, random tokens: CPU", false, true}, {"verification, random tokens: rate", true, false},
		{"durable creates: rate", true, true}, {"memory (RssAnon)", false, false},
	} {
		all := ratios[f.name]
		measured := fmt.Sprintf("%.2f (%.2f to %.2f)", median(all), slices.Min(all), slices.Max(all))
		switch {
		case !f.limited:
			b.figure(f.name+", to before", measured, true, "")
		case f.isRate:
			b.figure(f.name+", to before", measured, median(all) >= 0.97, "at least 0.97 times")
		default:
			b.figure(f.name+", to before", measured, median(all) <= 1.03, "at most 1.03 times")
		}
	}
}

// build is a tokend under comparison, with a store of its own.
type build struct {
	*tokend

	name, binary, data string
}

// importInto gives a build a store with values, through its own import.
func (b *bench) importInto(build *build, values []string) {
	build.data = filepath.Join(b.dir, build.name)
	t, _ := b.startBinary(build.binary, build.data)
	defer t.stop()
	path := filepath.Join(b.dir, "values.jsonl")
	file, err := os.Create(path)
	check(err)
	out := bufio.NewWriter(file)
	for i, value := range values {
		_, _ = fmt.Fprintf(out, `{"name":"token-%09d","token":%q}`+"\n", i, value)
	}
	check(out.Flush())
	check(file.Close())
	said, err := exec.Command(build.binary, "import", "--addr", t.address, "--admin-token-file", filepath.Join(build.data, "admin.token"), path).CombinedOutput()
	if err != nil {
		check(fmt.Errorf("%w: %s", err, said))
	}
}

// startFilled starts a build and waits until it has all tokens in memory.
func (b *bench) startFilled(build *build) *tokend {
	t, _ := b.startBinary(build.binary, build.data)
	t.awaitFilled()
	return t
}
