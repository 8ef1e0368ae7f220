package kv_test

import (
	"testing"

	"pgregory.net/rapid"

	"tokend/kv"
)

// Moments count as a list of them does.
func TestMoments(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		var (
			m    kv.Moments
			list []int64
		)
		span := rapid.SampledFrom([]int64{3, 1000, 1 << 40}).Draw(r, "span")
		moment := rapid.Int64Range(0, span)
		r.Repeat(map[string]func(*rapid.T){
			"add": func(r *rapid.T) {
				for _, at := range rapid.SliceOfN(moment, 1, 2000).Draw(r, "moments") {
					m.Add(at)
					list = append(list, at)
				}
			},
			"remove": func(r *rapid.T) {
				for range min(len(list), rapid.IntRange(0, 3000).Draw(r, "removed")) {
					last := len(list) - 1
					m.Remove(list[last])
					list = list[:last]
				}
			},
			"remove one that is not there": func(*rapid.T) { m.Remove(span + 1) },
			"": func(r *rapid.T) {
				at, want := moment.Draw(r, "at"), 0
				for _, other := range list {
					if other <= at {
						want++
					}
				}
				if got := m.UpTo(at); got != want {
					r.Fatalf("%d are up to %d, want %d", got, at, want)
				}
				if got := m.UpTo(span); got != len(list) {
					r.Fatalf("%d are there, want %d", got, len(list))
				}
			},
		})
	})
}
