// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

// A Class says what an object is (CKA_CLASS, PKCS#11 v2.40 section 4.2).
type Class uint

// The classes that are told apart.
const (
	ClassOther       Class = iota // also a certificate that is not X.509
	ClassCertificate              // X.509
	ClassData
	ClassPrivateKey
)

// An Inventory is what lies on a token at one time: the objects and what each of
// them is, unread. It is immutable. The nil Inventory is empty.
type Inventory struct {
	objects []Object
	classes map[Object]Class
}

// Of returns the objects of one class, in no particular order.
func (i *Inventory) Of(c Class) (objects []Object) {
	if i == nil {
		return nil
	}
	for _, o := range i.objects {
		if i.classes[o] == c {
			objects = append(objects, o)
		}
	}
	return objects
}

func (i *Inventory) class(o Object) (c Class, known bool) {
	if i == nil {
		return 0, false
	}
	c, known = i.classes[o]
	return c, known
}

func (i *Inventory) add(o Object, c Class) {
	i.objects = append(i.objects, o)
	i.classes[o] = c
}
