// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a bundle.
const (
	keyFile   = "key.pem"
	chainFile = "chain.pem"
	rootFile  = "root.pem"
)

// Save stores a bundle in the folder dir, as files that only their owner can
// read: chain.pem is Chain; root.pem is Root; key.pem is Key as PKCS #1 if it is
// RSA and PKCS #8 if it is not, and is missing if Key is kept elsewhere.
//
// A folder that does not exist, or is empty, comes into being with all the files
// in one step. In another one the files are replaced together as well, as far as
// [LoadBundle] can see: whatever fails, the power included, it returns the old bundle
// or the new one. Other programs may see the old files beside the new ones until
// Save is called again.
//
// For a keystore, Chain is what to inject for the key that was certified.
func (b *Bundle) Save(dir string) error {
	files, err := b.files()
	if err != nil {
		return err
	}
	switch info, err := os.Lstat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return newFolder(dir, files)
	case err != nil:
		return err
	case info.IsDir() && os.Remove(dir) == nil: // it was empty
		return newFolder(dir, files)
	}
	return replaceAll(dir, files)
}

// nextFolder is where the files of a bundle are, complete, while those beside it
// are being replaced. As long as it is there, it counts.
const nextFolder = ".next"

func replaceAll(dir string, files []file) error {
	if err := settle(dir); err != nil {
		return err
	}
	if err := newFolder(filepath.Join(dir, nextFolder), files); err != nil {
		return err
	}
	return settle(dir)
}

// settle brings what an interrupted Save has left in nextFolder to its place.
func settle(dir string) error {
	next := filepath.Join(dir, nextFolder)
	if !exists(next) {
		return nil
	}
	var files []file
	for _, name := range []string{rootFile, chainFile, keyFile} {
		text, err := os.ReadFile(filepath.Join(next, name))
		if ignoreMissing(err) != nil {
			return err
		}
		files = append(files, file{name, text})
	}
	if err := replaceFiles(dir, files); err != nil {
		return err
	}
	return removeFolder(next)
}

// removeFolder first takes the name, so that nobody takes half of it for the whole.
func removeFolder(dir string) error {
	gone := dir + "-done"
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(dir, gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

type file struct {
	name string
	text []byte // nil: there must be none
}

// files are in the order of replacement, the key last: until it is there, the
// old one does not fit.
func (b *Bundle) files() ([]file, error) {
	if b.Root == nil || len(b.Chain) == 0 {
		return nil, fmt.Errorf("%w: bundle has no root or no chain", ErrIncomplete)
	}
	key, err := encodeKey(b.Key)
	if err != nil {
		return nil, err
	}
	return []file{{rootFile, RootPEM(b.Root)}, {chainFile, RootPEM(b.Chain...)}, {keyFile, key}}, nil
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
	}
	return nil, nil // kept elsewhere
}

func newFolder(dir string, files []file) (err error) {
	fresh, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".new-*") // mode 0700
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(fresh))
		}
	}()
	if err := replaceFiles(fresh, files); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Clean(dir)))
}

func replaceFiles(dir string, files []file) error {
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if f.text == nil {
			if err := ignoreMissing(os.Remove(path)); err != nil {
				return err
			}
			continue
		}
		if err := writeFile(path, f.text); err != nil {
			return err
		}
	}
	return nil
}

// LoadBundle reads what [Bundle.Save] stored. Key is nil if it is kept elsewhere.
// Files that do not belong together are [ErrBundle].
func LoadBundle(dir string) (*Bundle, error) {
	if next := filepath.Join(dir, nextFolder); exists(next) {
		dir = next
	}
	chain, err := os.ReadFile(filepath.Join(dir, chainFile))
	if err != nil {
		return nil, err
	}
	b, err := ParseBundle(chain)
	if err != nil {
		return nil, err
	}
	if b.Root, err = loadRoot(filepath.Join(dir, rootFile)); err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	if b.Key, err = decodeKey(key); err != nil {
		return nil, err
	}
	return b, b.check()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func loadRoot(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	root, err := ParseRoot(text)
	if err != nil {
		return nil, err
	}
	return root.certs[0], nil
}

// decodeKey says nothing of what it read.
func decodeKey(text []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(rest) > 0 {
		return nil, errKeyFile
	}
	if block.Type == typeKey {
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		return nil, errKeyFile
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errKeyFile
	}
	return signer, nil
}

var errKeyFile = fmt.Errorf("%w: %s cannot be read", ErrBundle, keyFile)
