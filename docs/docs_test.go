package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"tokend/api/wire"
	"tokend/cli"
	"tokend/internal/testkit"
)

const root = ".."

// pages are the public docs.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "recipes/*.md", "kv/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		testkit.Do(t, err)
		all = append(all, found...)
	}
	if len(all) < 15 {
		t.Fatal(all)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	testkit.Do(t, err)
	return string(content)
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	notSlug = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// slug is the anchor of a heading, as code hosts make it.
func slug(heading string) string {
	return strings.ReplaceAll(notSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

// Every link within the docs leads to a file, and to a heading in it.
func TestDocs_links(t *testing.T) {
	for _, page := range pages(t) {
		for _, found := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %s leads nowhere", page, found[1])
				continue
			}
			if anchor == "" {
				continue
			}
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(read(t, path), -1) {
				anchors = append(anchors, slug(h[1]))
			}
			if !slices.Contains(anchors, anchor) {
				t.Errorf("%s: %s has no heading %s, but %q", page, path, anchor, anchors)
			}
		}
	}
}

// Every tokend command in the docs exists, with every flag that is shown.
func TestDocs_commands(t *testing.T) {
	command := regexp.MustCompile("(?m)(?:^|[$`(|&;] ?|sudo )(?:\\./)?tokend ((?:[a-z]+(?:-config)? ?)+)([^\n`|;&)]*)")
	flag := regexp.MustCompile(`--[a-z-]+`)
	checked := 0
	for _, page := range pages(t) {
		text := read(t, page)
		for _, found := range command.FindAllStringSubmatch(text, -1) {
			cmd, rest, err := cli.NewRoot().Find(strings.Fields(found[1]))
			if err != nil || cmd.HasParent() && cmd.HasSubCommands() && len(rest) > 0 {
				t.Errorf("%s: tokend %s: %v", page, found[1], err)
				continue
			}
			if !cmd.HasParent() {
				continue // prose that begins with the name
			}
			checked++
			for _, name := range flag.FindAllString(found[2], -1) {
				if cmd.Flags().Lookup(strings.TrimPrefix(name, "--")) == nil && cmd.InheritedFlags().Lookup(strings.TrimPrefix(name, "--")) == nil && name != "--help" {
					t.Errorf("%s: tokend %s has no flag %s", page, found[1], name)
				}
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d commands were found", checked)
	}
	reference := read(t, filepath.Join(root, "docs/configuration.md"))
	for _, cmd := range cli.NewRoot().Commands() {
		if name := cmd.Name(); name != "help" && name != "serve" && !strings.Contains(reference, "`"+name) {
			t.Errorf("docs/configuration.md lacks %s", name)
		}
	}
}

// Every endpoint and every code is in docs/api.md.
func TestDocs_api(t *testing.T) {
	page := read(t, filepath.Join(root, "docs/api.md"))
	source := read(t, filepath.Join(root, "api/wire/wire.go"))
	for _, kind := range []string{`Path\w+\s+= "([^"]+)"`, `Code\w+\s+Code = "([^"]+)"`} {
		found := regexp.MustCompile(kind).FindAllStringSubmatch(source, -1)
		if len(found) < 10 {
			t.Fatal(found)
		}
		for _, f := range found {
			if !strings.Contains(page, f[1]) {
				t.Errorf("docs/api.md lacks %s", f[1])
			}
		}
	}
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(page, -1) {
		var into any
		var problem wire.Problem
		switch text := block[1]; {
		case strings.Contains(text, `"request_id"`):
			into = &problem
		case strings.Contains(text, `"first_line"`):
			into = &wire.Batch{}
		default:
			into = &wire.Data[wire.TokenWithValue]{}
		}
		if err := json.Unmarshal([]byte(block[1]), into, json.RejectUnknownMembers(true)); err != nil {
			t.Errorf("%s%v", block[1], err)
		}
	}
}

// The README stays short, and says the two commands on its first screen.
func TestDocs_readme(t *testing.T) {
	text := read(t, filepath.Join(root, "README.md"))
	if len(text) > 12<<10 {
		t.Errorf("the README has %d bytes", len(text))
	}
	first := strings.Join(strings.SplitN(text, "\n", 25)[:24], "\n")
	for _, command := range []string{"go run .", "go test ./..."} {
		if !strings.Contains(first, command) {
			t.Errorf("the first screen lacks %s", command)
		}
	}
}
