"""Where jobs run: in this process, in processes of this machine, or in those of a Ray cluster."""
