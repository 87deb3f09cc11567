"""The live service: files, SSE, realtime sockets and a page, over the scheduler (extra `server`).

settings  keys                    what the operator says
gate                              every request and socket passes it, or is turned away
models  live  sockets             a served model; a stream as a socket has it; any dialogue
files  realtime  plain  deepgram  one wire each
app  running                      the routes; the process
"""
