#!/usr/bin/env node
process.stdout.write("stint 0.1.0\n");
