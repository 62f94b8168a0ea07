"""The engine's I/O: model files, the child process that hosts llama.cpp, its health probe."""
