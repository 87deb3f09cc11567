"""The live service: files, SSE, realtime sockets and a page, over the scheduler (extra `server`).

settings  keys                    what the operator says
gate  connections                 every request and socket passes them, or is turned away
models  live  said  sockets       a served model; a stream as a socket has it; any dialogue
files  realtime  deepgram
plain  wyoming                    one wire each
app  running                      the routes; the process
"""
