// Bench measures tokend against its limits, and beside the systems that people
// would use in its place. Every figure is printed with its limit, out of the
// same run on the same machine; where speed is compared, the systems take turns
// and medians are compared. It ends with 1 where a limit is broken.
//
//	go run ./bench
//	go run ./bench -before /path/to/another/tokend
package main

import (
	"cmp"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

func main() {
	if len(os.Args) == 3 { // the bench starts itself as the other servers
		switch os.Args[1] {
		case "baseline":
			serveBaseline(os.Args[2])
			return
		case "bare":
			serveBare(os.Args[2])
			return
		}
	}
	many := flag.Int("many", 1_000_000, "tokens to verify")
	tokens := flag.Int("tokens", 100_000, "tokens for the figures of a full store")
	seconds := flag.Duration("time", 3*time.Second, "length of each turn where systems are compared")
	turns := flag.Int("turns", 3, "turns of each system")
	report := flag.Bool("report", false, "end with 0 even where a limit is broken")
	before := flag.String("before", "", "another build of tokend, to be compared with this one, and nothing else")
	starts := flag.Int("starts", 5, "starts of each build, with -before")
	flag.Parse()

	dir, err := os.MkdirTemp(".", "bench-") // on the disk of the checkout, not in a memory file system
	check(err)
	dir, err = filepath.Abs(dir)
	check(err)

	fmt.Printf("%s, %d CPUs, %s\n\n", runtime.Version(), runtime.NumCPU(), time.Now().Format(time.DateOnly))
	b := &bench{dir: dir, binary: filepath.Join(dir, "tokend")}
	b.build()
	if *before != "" {
		b.compareBefore(*before, *tokens, *starts, *seconds)
	} else {
		b.measureAll(*many, *tokens, *seconds, *turns)
	}
	check(os.RemoveAll(dir))
	if b.broken > 0 {
		fmt.Printf("\n%d limits are broken\n", b.broken)
		if !*report {
			os.Exit(1)
		}
	}
}

func (b *bench) measureAll(many, tokens int, length time.Duration, turns int) {
	b.compareVerify(many, length*time.Duration(turns))
	b.compareCreates(length, turns)
	b.measureStore(tokens)
	b.measureImport(tokens)
}

// bench is one run.
type bench struct {
	dir    string
	binary string
	broken int
}

// figure prints a figure, and its limit where it has one.
func (b *bench) figure(name, measured string, kept bool, limit string) {
	verdict := ""
	if limit != "" {
		verdict = "limit " + limit
		if !kept {
			verdict += "   BROKEN"
			b.broken++
		}
	}
	fmt.Printf("%-58s %16s   %s\n", name, measured, verdict)
}

func (b *bench) build() {
	run("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary, ".")
	info, err := os.Stat(b.binary)
	check(err)
	b.figure("stripped binary", megabytes(info.Size()), true, "")
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
