package client

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"tokend/api/wire"
)

// DecodeList reads a server's list.
func DecodeList(answer []byte) (names []string, copied []byte, err error) {
	var to bytes.Buffer
	err = decodeList(jsontext.NewDecoder(bytes.NewReader(answer)), &to, func(t wire.Token) bool {
		names = append(names, t.Name)
		return true
	})
	return names, to.Bytes(), err
}

// IsNotList tells what is not a list from what cannot be read.
var IsNotList = isNotList

// CopyLines copies a server's export.
func CopyLines(export []byte) (copied []byte, count int, err error) {
	var to bytes.Buffer
	count, err = new(Client).copyLines(&to, bytes.NewReader(export))
	return to.Bytes(), count, err
}

// ImportResults reads what a server says of an import: of how many lines, and whether it
// failed at the last of them.
func ImportResults(answer []byte, lines int) (results int, failed, ok bool) {
	batches, ok := parseBatches(answer, lines)
	if !ok {
		return 0, false, false
	}
	last := batches[len(batches)-1]
	return last.LastLine, last.Error != nil, true
}
