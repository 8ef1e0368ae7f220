package index

import "testing"

// ExpectFound fails where the first use of a tag is not the one that counts.
func ExpectFound(t testing.TB, u Uses) {
	t.Helper()
	for i := range u.Len() {
		if tag, at := u.at(i); i == 0 && u.of(tag) != at {
			t.Error("the first use is not found")
		}
	}
}
