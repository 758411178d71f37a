// With this file the compiler takes functions without a body, also where the target is not WebAssembly.
