package kv_test

import (
	"fmt"
	"testing"
	"time"

	"tokend/kv"
	"tokend/kv/kvtest"
)

func TestStore_Count(t *testing.T) {
	s := kvtest.New(t)
	expect := func(want int64) {
		t.Helper()
		for {
			n, known := s.Count()
			if known && n != want {
				t.Errorf("%d tokens, want %d", n, want)
			}
			if known {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	expect(0)
	for i := range 3 {
		if _, _, err := s.Create(kv.Spec{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	_, _, _ = s.Create(kv.Spec{Name: "0"}) // is refused
	expect(3)
	if _, err := s.Delete("1"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Rotate("2", time.Hour); err != nil {
		t.Fatal(err)
	}
	expect(2)
	s.Reopen()
	expect(2)
}
