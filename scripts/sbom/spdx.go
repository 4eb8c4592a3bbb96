// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// These are the parts of SPDX 2.3 (ISO/IEC 5962) that a program needs; numbers
// are sections of https://spdx.github.io/spdx-spec/v2.3/.
type (
	// A document is section 6.
	document struct {
		SPDXVersion       string         `json:"spdxVersion"`
		DataLicense       string         `json:"dataLicense"`
		SPDXID            string         `json:"SPDXID"`
		Name              string         `json:"name"`
		DocumentNamespace string         `json:"documentNamespace"`
		CreationInfo      creationInfo   `json:"creationInfo"`
		Packages          []spdxPackage  `json:"packages"`
		Relationships     []relationship `json:"relationships"`
	}

	// A creationInfo is sections 6.8 and 6.9.
	creationInfo struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}

	// A spdxPackage is section 7.
	spdxPackage struct {
		SPDXID           string        `json:"SPDXID"`
		Name             string        `json:"name"`
		VersionInfo      string        `json:"versionInfo,omitempty"`
		PackageFileName  string        `json:"packageFileName,omitempty"`
		Purpose          string        `json:"primaryPackagePurpose"`
		DownloadLocation string        `json:"downloadLocation"`
		FilesAnalyzed    bool          `json:"filesAnalyzed"`
		Checksums        []checksum    `json:"checksums,omitempty"`
		SourceInfo       string        `json:"sourceInfo,omitempty"`
		LicenseConcluded string        `json:"licenseConcluded"`
		LicenseDeclared  string        `json:"licenseDeclared"`
		CopyrightText    string        `json:"copyrightText"`
		ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
	}

	// A checksum is section 7.10.
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}

	// An externalRef is section 7.21.
	externalRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}

	// A relationship is section 11.
	relationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const (
	documentID = "SPDXRef-DOCUMENT"
	programID  = "SPDXRef-Program"
)

// document is the bill of materials: the program, the modules and Go's library
// it depends on, and the C libraries it loads. The PKCS#11 module is not there:
// it is whichever the user names.
func (p *program) document(created time.Time) *document {
	d := &document{
		SPDXVersion:       "SPDX-2.3",
		DataLicense:       "CC0-1.0",
		SPDXID:            documentID,
		Name:              fmt.Sprintf("%s %s %s", p.file, p.main.version, p.platform),
		DocumentNamespace: fmt.Sprintf("https://%s/spdx/%s-%s", p.main.name, p.file, p.sha256),
		CreationInfo:      creationInfo{Created: created.UTC().Format("2006-01-02T15:04:05Z"), Creators: []string{"Tool: " + p.main.name + "/scripts/sbom"}},
		Packages:          []spdxPackage{p.packaged()},
		Relationships:     []relationship{{documentID, "DESCRIBES", programID}},
	}
	for _, c := range p.linked {
		d.add(c.packaged(), "DEPENDS_ON")
	}
	for _, c := range p.libraries {
		d.add(c.packaged(), "DYNAMIC_LINK")
	}
	return d
}

func (d *document) add(s spdxPackage, how string) {
	d.Packages = append(d.Packages, s)
	d.Relationships = append(d.Relationships, relationship{programID, how, s.SPDXID})
}

func (p *program) packaged() spdxPackage {
	s := spdxPackage{
		SPDXID:           programID,
		Name:             p.main.name,
		VersionInfo:      p.main.version,
		PackageFileName:  p.file,
		Purpose:          "APPLICATION",
		DownloadLocation: noAssertion,
		Checksums:        []checksum{{"SHA256", p.sha256}},
		LicenseConcluded: noAssertion,
		LicenseDeclared:  p.main.licence,
		CopyrightText:    noAssertion,
		ExternalRefs:     purl(p.main.name, p.main.version),
	}
	if p.revision != "" {
		s.DownloadLocation = fmt.Sprintf("git+https://%s@%s", p.main.name, p.revision)
	}
	return s
}

// notInID is what an identifier may not have in it (section 3.2).
var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

func (c *component) packaged() spdxPackage {
	s := spdxPackage{
		SPDXID:           "SPDXRef-" + notInID.ReplaceAllString(c.name, "-"),
		Name:             c.name,
		VersionInfo:      c.version,
		Purpose:          "LIBRARY",
		DownloadLocation: noAssertion,
		LicenseConcluded: noAssertion,
		LicenseDeclared:  cmp.Or(c.licence, noAssertion),
		CopyrightText:    noAssertion,
	}
	if c.sum != "" {
		s.SourceInfo = "go.sum: " + c.sum
	}
	module := c.name
	if module == "std" {
		module = "stdlib" // as scanners know it
	}
	s.ExternalRefs = purl(module, c.version)
	return s
}

// purl is a package URL, by which scanners look up what is known about a
// module. There is none for a version that nobody knows.
func purl(module, version string) []externalRef {
	if version == "" || version == "(devel)" {
		return nil
	}
	return []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + module + "@" + strings.ReplaceAll(version, "+", "%2B")}}
}
