def greeting():
    return "Welcome to the company store"
