// Command golang judges what qpubus publishes by Go's own code for signed notes and transparent logs.
//
// It reads a Case as JSON, and prints what does not hold, a line each, and "judged" at the end.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Case is a published tree, the key of its log, and proofs made elsewhere.
type Case struct {
	Directory   string
	Key         string
	Inclusion   []Inclusion
	Consistency []Consistency
}

// An Inclusion is a proof that an entry is in the published tree.
type Inclusion struct {
	Index int64
	Entry []byte
	Proof [][]byte
}

// A Consistency is a proof that the published tree begins with a smaller one.
type Consistency struct {
	OldSize int64
	OldRoot []byte
	Proof   [][]byte
}

// tiles reads tiles where C2SP tlog-tiles has them; Go's own path names the height besides.
type tiles string

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range wanted {
		data, err := os.ReadFile(filepath.Join(string(t), strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func main() {
	var c Case
	check("the case", json.NewDecoder(os.Stdin).Decode(&c))
	tree := checkpoint(c)
	reader := tlog.TileHashReader(tree, tiles(c.Directory))
	entries := bundles(c.Directory, tree.N)
	for index, entry := range entries {
		_, err := tlog.ProveRecord(tree.N, int64(index), reader)
		check(fmt.Sprint("tiles of record ", index), err)
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
		check(fmt.Sprint("leaf ", index), err)
		if err == nil && hashes[0] != tlog.RecordHash(entry) {
			fmt.Println("entry", index, "is not that of its leaf")
		}
	}
	for _, each := range c.Inclusion {
		leaf := tlog.RecordHash(each.Entry)
		check(fmt.Sprint("inclusion of ", each.Index), tlog.CheckRecord(hashes(each.Proof), tree.N, tree.Hash, each.Index, leaf))
	}
	for _, each := range c.Consistency {
		old := hash(each.OldRoot)
		check(fmt.Sprint("consistency with ", each.OldSize), tlog.CheckTree(hashes(each.Proof), tree.N, tree.Hash, each.OldSize, old))
	}
	fmt.Println("judged", tree.N, len(c.Inclusion), len(c.Consistency))
}

// checkpoint opens the signed note and reads the tree that it tells of.
func checkpoint(c Case) tlog.Tree {
	data, err := os.ReadFile(filepath.Join(c.Directory, "checkpoint"))
	check("the checkpoint", err)
	verifier, err := note.NewVerifier(c.Key)
	check("the key", err)
	opened, err := note.Open(data, note.VerifierList(verifier))
	check("the note", err)
	if err != nil {
		os.Exit(1)
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check("the size", err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	check("the root", err)
	return tlog.Tree{N: size, Hash: hash(root)}
}

// bundles reads all entries.
func bundles(directory string, size int64) [][]byte {
	var entries [][]byte
	for number := int64(0); number*256 < size; number++ {
		width := size - number*256
		if width > 256 {
			width = 256
		}
		tile := tlog.Tile{H: 8, L: -1, N: number, W: int(width)}
		path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(directory, path))
		check("the bundle", err)
		for len(data) > 2 {
			length := binary.BigEndian.Uint16(data)
			entries = append(entries, data[2:2+length])
			data = data[2+length:]
		}
	}
	return entries
}

func hash(data []byte) (h tlog.Hash) {
	copy(h[:], data)
	return h
}

func hashes(proof [][]byte) (read []tlog.Hash) {
	for _, each := range proof {
		read = append(read, hash(each))
	}
	return read
}

func check(what string, err error) {
	if err != nil {
		fmt.Println(what+":", err)
	}
}
