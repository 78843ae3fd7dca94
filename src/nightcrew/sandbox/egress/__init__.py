"""The only way out of a sandbox: a proxy, a name server and transparent TCP, served outside at exits inside."""
