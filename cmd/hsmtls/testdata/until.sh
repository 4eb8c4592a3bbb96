# SPDX-License-Identifier: Apache-2.0
# Copyright The hsmtls-go Authors
#
# until.sh WORD FILE waits a minute at most for the file to have the word. Scripts find
# it as $UNTIL.
for i in $(seq 600); do
	! grep -qs "$1" "$2" || exit 0
	sleep 0.1
done
exit 1
