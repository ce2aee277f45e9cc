"""What travels between master and hosts: values, outputs, BOINC's documents."""
