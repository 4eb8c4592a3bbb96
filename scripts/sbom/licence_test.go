// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIdentify(t *testing.T) {
	t.Parallel()
	const bsd = "Redistribution and use in source and binary forms, with or without modification, are permitted\n" +
		"* Redistributions in binary form must reproduce the above copyright notice, this\n" +
		"list of conditions and the following disclaimer in the documentation and/or other\nmaterials.\n"
	for want, licence := range map[string]string{
		"Apache-2.0":   "\n                                 Apache License\n                           Version 2.0, January 2004\n",
		"BSD-2-Clause": bsd,
		"BSD-3-Clause": bsd + "* Neither the name of X may be used to\nendorse or promote products derived",
		"MIT": "Permission is hereby granted, free of charge, to any person\n\n" +
			"The above copyright notice and this permission notice shall be\nincluded in all copies",
		"ISC":       "Permission to use, copy, modify, and distribute this software for any\npurpose with or without fee is hereby granted",
		"MPL-2.0":   "Mozilla Public License Version 2.0\n====",
		noAssertion: "All rights reserved.",
	} {
		require.Equal(t, want, identify(licence), licence)
	}
	own, err := os.ReadFile("../../LICENSE")
	require.NoError(t, err)
	require.Equal(t, "Apache-2.0", identify(string(own)))
}

func TestReadTexts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, body := range map[string]string{
		"LICENSE.txt": "Mozilla Public License Version 2.0", "NOTICE": "by X", "licence.go": "package x", "README.md": "Apache License Version 2.0, January 2004",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600))
	}
	var c component
	require.NoError(t, c.readTexts(dir))
	require.Equal(t, "MPL-2.0", c.licence)
	require.Equal(t, []text{{"LICENSE.txt", "Mozilla Public License Version 2.0"}, {"NOTICE", "by X"}}, c.texts)
	require.ErrorIs(t, c.readTexts(filepath.Join(dir, "none")), os.ErrNotExist)
}

// TestReadLicencesNeedsTexts is about a module that nobody may pass on.
func TestReadLicencesNeedsTexts(t *testing.T) {
	t.Parallel()
	p := &program{main: component{name: "github.com/hsmtls/hsmtls-go"}}
	require.NoError(t, p.readLicences())
	require.Equal(t, "Apache-2.0", p.main.licence)
	require.ErrorIs(t, (&program{main: component{name: "std"}}).readLicencesFrom(map[string]string{"std": t.TempDir()}), errNoLicence)
}
