from paradise.cli import main

main()
