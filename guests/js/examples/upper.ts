// The smallest stage: the value in upper case.

import { mapValue } from "millstream";

export default mapValue((value) => value.map(upper));

const upper = (byte: number) => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte);
