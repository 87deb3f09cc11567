"""A client that sends noise until it is killed:  python noise_client.py PORT [KEY]"""

import random
import sys
import time

import raw_socket as raw

if __name__ == "__main__":
    raw.KEY = sys.argv[2] if len(sys.argv) > 2 else ""
    noise = random.Random(1).randbytes(3200)
    with raw.opened(int(sys.argv[1])) as client:
        print("it speaks", flush=True)
        while True:
            client.sendall(raw.frame(raw.BINARY, noise))
            time.sleep(0.02)
