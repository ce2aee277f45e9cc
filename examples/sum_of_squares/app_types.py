class Input:
    def __init__(self, value):
        self.value = value


class Output:
    def __init__(self, value):
        self.value = value
