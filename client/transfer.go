package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"

	"tokend/api/wire"
	"tokend/kv/backup"
)

// MaxLine is the longest line of an export or an import, in bytes.
const MaxLine = 64 << 10

// Export writes all tokens, one JSON object on each line, with their values if that is asked
// for, and gives their number. What was written before an error are whole lines.
func (c *Client) Export(ctx context.Context, to io.Writer, values bool) (tokens int, err error) {
	asked := request{method: http.MethodGet, path: wire.PathExport, accepts: wire.JSONLines}
	if values {
		asked.query = url.Values{"values": {"true"}}
	}
	response, err := c.send(ctx, asked)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	return c.copyLines(to, c.body(ctx, response))
}

// copyLines copies tokens, each on a line, and counts them.
func (c *Client) copyLines(to io.Writer, from io.Reader) (count int, err error) {
	lines := bufio.NewReaderSize(from, MaxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return count, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, bufio.ErrBufferFull) || err == nil && !isTokenLine(line) {
			err = c.NotTokend()
		}
		if err == nil {
			_, err = to.Write(line)
		}
		if err != nil {
			return count, err
		}
		count++
	}
}

func isTokenLine(line []byte) bool {
	var t wire.TokenWithValue
	return json.Unmarshal(line, &t) == nil && isToken(&t.Token) && (t.Value == "" || isValue(t.Value))
}

// Import makes tokens of lines, each of which is a JSON object. The answer tells what became
// of each line, in batches of which the server takes all lines or none, up to the first batch
// with an Error, where the import stopped.
func (c *Client) Import(ctx context.Context, lines [][]byte) ([]wire.Batch, error) {
	body := append(bytes.Join(lines, []byte{'\n'}), '\n')
	response, err := c.send(ctx, request{method: http.MethodPost, path: wire.PathImport, body: body, accepts: wire.JSONLines})
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := c.read(ctx, response)
	if err != nil {
		return nil, err
	}
	batches, ok := parseBatches(raw, len(lines))
	if !ok {
		return nil, c.NotTokend()
	}
	return batches, nil
}

// parseBatches takes an answer to an import of so many lines apart. It is not ok where it does
// not say of each line what became of it, up to a failure of the server.
func parseBatches(answer []byte, lines int) (batches []wire.Batch, ok bool) {
	end := 0
	for line := range bytes.Lines(answer) {
		var b wire.Batch
		if err := json.Unmarshal(line, &b); err != nil || b.FirstLine != end+1 || b.LastLine > lines || !isBatch(&b) {
			return nil, false
		}
		end = b.LastLine
		batches = append(batches, b)
	}
	return batches, len(batches) > 0 && (end == lines || batches[len(batches)-1].Error != nil)
}

// isBatch reports whether a server could mean it, and a terminal may see it.
func isBatch(b *wire.Batch) bool {
	lines := b.LastLine - b.FirstLine + 1
	for _, r := range b.Refused {
		if r.Line < b.FirstLine || r.Line > b.LastLine || !isPlain(r.Code+r.Detail+r.Name) {
			return false
		}
	}
	if len(b.Refused) > 0 || b.Error != nil {
		return lines > 0 && b.Created == 0 && (b.Error == nil || isPlain(b.Error.Code+b.Error.Detail))
	}
	return lines > 0 && b.Created == lines
}

// WriteError is an error of the writer that Backup copies to.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return e.Err.Error() }

func (e *WriteError) Unwrap() error { return e.Err }

// Backup copies the whole store at one moment, values sealed, and checks it on the way. It
// fails with backup.ErrInvalid where what came is not a whole backup, and with a WriteError
// where it cannot be written. The progress may be nil.
func (c *Client) Backup(ctx context.Context, to io.Writer, progress backup.Progress) (backup.Info, error) {
	response, err := c.send(ctx, request{method: http.MethodGet, path: wire.PathBackup, accepts: wire.CBORSequence})
	if err != nil {
		return backup.Info{}, err
	}
	defer func() { _ = response.Body.Close() }()
	info, err := backup.Check(io.TeeReader(c.body(ctx, response), &targetWriter{to}), progress)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return info, err
}

type targetWriter struct{ io.Writer }

func (w *targetWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		err = &WriteError{err}
	}
	return n, err
}
