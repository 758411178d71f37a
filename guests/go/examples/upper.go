// The smallest stage: the value in upper case.
package main

import "millstream"

func init() { millstream.MapValue(upper) }

func main() {}

func upper(value []byte) []byte {
	for i, c := range value {
		if 'a' <= c && c <= 'z' {
			value[i] = c - 'a' + 'A'
		}
	}
	return value
}
